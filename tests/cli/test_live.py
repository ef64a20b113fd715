"""``fer-edge live``: refusals before the page opens; tests/service has the rest."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["--bundle", "nowhere.fer"], 4, "nowhere.fer"),
        (["--detector", "nowhere.onnx"], 3, "nowhere.onnx"),
        (["--port", "70000"], 2, "port"),
        (["--host", "0.0.0.0"], 2, "--host"),
    ],
)
def test_refusals_are_sentences(run: Any, arguments: list[str], code: int, says: str) -> None:
    result = run("live", *arguments, "--no-browser")
    assert result.exit_code == code
    assert says in result.stderr
