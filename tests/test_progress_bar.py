"""Progress bars on standard error."""

from __future__ import annotations

import re

import pytest

from fer_edge.progress_bar import progress


def test_a_bar_shows_text_in_brackets_as_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    with progress() as (say, step):
        say("cannot read [/data/x], [red] :warning:")
        step("mine[/x]:infer", 1, 3)
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", capsys.readouterr().err)
    assert "cannot read [/data/x], [red] :warning:" in shown
    assert "mine[/x]:infer" in shown
