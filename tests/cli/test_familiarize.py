"""``fer-edge familiarize``: faces unlike the training faces become uncertain."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fer_edge.shipped import FACES


def test_too_few_faces_are_a_sentence(run: Any) -> None:
    result = run("familiarize", "default", "--data", FACES, "-o", "out", "--quiet")
    assert result.exit_code == 3
    assert "expected at least 500 training faces and 200 held-out faces" in result.stderr
    assert not Path("out").exists()


def test_missing_inputs_are_told_before_torch_is_loaded(run: Any) -> None:
    assert run("familiarize", "none", "--data", FACES, "-o", "out").exit_code == 4
    assert run("familiarize", "default", "--data", "none.csv", "-o", "out").exit_code == 3
