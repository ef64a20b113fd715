"""Warnings of the package on standard error: which commands print them, and how many."""

from __future__ import annotations

import logging

import pytest

from fer_edge.cli.log import MOST_LINES, warnings_on_stderr

LOG = logging.getLogger("fer_edge")


def test_warnings_are_printed_inside_and_not_outside(capsys: pytest.CaptureFixture[str]) -> None:
    with warnings_on_stderr():
        LOG.info("quiet")
        logging.getLogger("fer_edge.service").warning("the engine %s", "failed")
    LOG.warning("afterwards")
    out, err = capsys.readouterr()
    assert out == ""
    assert err.endswith(" WARNING the engine failed\n")
    assert len(err.splitlines()) == 1


def test_one_minute_has_a_bounded_number_of_lines(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = 1000.0
    monkeypatch.setattr("fer_edge.cli.log.time.monotonic", lambda: now_s)
    with warnings_on_stderr():
        for number in range(1000):
            LOG.error("fault %d", number)
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == MOST_LINES + 1
        assert lines[-2].endswith(f"fault {MOST_LINES - 1}")
        assert lines[-1] == "Further messages of this minute are left out."
        now_s += 60
        LOG.error("again")
    assert capsys.readouterr().err.endswith("ERROR again\n")


def test_nothing_in_a_warning_moves_the_cursor(capsys: pytest.CaptureFixture[str]) -> None:
    with warnings_on_stderr():
        try:
            raise ValueError("\x1b[2J")
        except ValueError:
            LOG.exception("a drive \x1b[31m")
    err = capsys.readouterr().err
    assert "\x1b" not in err
    assert "Traceback" in err.splitlines()[1]
