"""Warnings of libraries and of the package, as a user of the command line sees them."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest

import fer_edge
from fer_edge.cli import main

OURS = str(Path(fer_edge.__file__).parent / "training" / "data" / "faces.py")
TORCH = "This DataLoader will create 4 worker processes in total. Our suggested max number is 2"


@pytest.mark.parametrize(
    ("text", "file", "shown"),
    [
        ("Left out: a.png", OURS, "Left out: a.png\n"),
        (TORCH, "/lib/dataloader.py", "fit.workers asks for more processes than this machine has"),
    ],
)
def test_a_warning_is_a_sentence_without_its_source_line(
    run: Any, monkeypatch: pytest.MonkeyPatch, text: str, file: str, shown: str
) -> None:
    def command(**_: Any) -> None:
        shows = warnings.showwarning
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.showwarning = shows
            warnings.warn_explicit(text, UserWarning, file, 1)

    monkeypatch.setattr(main.commands["doctor"], "callback", command)
    result = run("doctor")
    assert shown in result.stderr
    assert "UserWarning" not in result.stderr
