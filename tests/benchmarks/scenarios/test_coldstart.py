"""Cold starts of a fresh process."""

from __future__ import annotations

from pathlib import Path

import pytest

from fer_edge.backends.fake import write_fake_bundle
from fer_edge.benchmarks.scenarios.coldstart import cold_start
from fer_edge.errors import FerEdgeError


def test_a_cold_start_tells_its_parts(fake_bundle: Path) -> None:
    start = cold_start(fake_bundle, "fake/fp32")
    assert set(start) == {"total_s", "import_s", "load_s", "first_answer_s", "rss_bytes"}
    assert all(value > 0 for value in start.values())
    assert start["total_s"] > start["import_s"] + start["load_s"] + start["first_answer_s"]


def test_a_cold_start_that_fails_says_why(tmp_path: Path) -> None:
    """The engine breaks in the fresh process: its sentence, not a dump of the command line."""
    broken = write_fake_bundle(tmp_path / "broken.fer", fail_after=0)
    with pytest.raises(FerEdgeError, match="told to fail"):
        cold_start(broken, "fake/fp32")


def test_what_libraries_print_is_no_answer(fake_bundle: Path, chatty_children: None) -> None:
    assert cold_start(fake_bundle, "fake/fp32")["total_s"] > 0
