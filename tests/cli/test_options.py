"""Options and parameter types that several commands share."""

from __future__ import annotations

from typing import Any

import pytest

COMMANDS = [
    ["predict", "x.png", "--save", ""],
    ["predict", "x.png", "--detector", ""],
    ["data", "summary", ""],
    ["data", "split", "x", "-o", ""],
    ["evaluate", "default", "--data", ""],
    ["embed", ""],
    ["import", "", "-o", "x"],
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_an_empty_path_is_not_the_current_folder(run: Any, command: list[str]) -> None:
    result = run(*command)
    assert result.exit_code == 3
    assert "got an empty name. Name a file or folder" in result.stderr


@pytest.mark.parametrize(
    "command", [["predict", "x.png", "--bundle", ""], ["inspect", ""], ["verify", ""]], ids=" ".join
)
def test_an_empty_bundle_is_not_the_current_folder(run: Any, command: list[str]) -> None:
    result = run(*command)
    assert result.exit_code == 4
    assert "got an empty name. Name its folder, or default or fast" in result.stderr
