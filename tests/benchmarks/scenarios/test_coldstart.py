"""Cold starts of a fresh process."""

from __future__ import annotations

import os
import time
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


def test_what_comes_after_the_first_answer_does_not_count(
    fake_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half a second goes by before psutil reads the memory, and another one at the end."""
    (tmp_path / "sitecustomize.py").write_text(
        "import atexit, sys, time\n"
        "class Late:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'psutil':\n"
        "            time.sleep(0.5)\n"
        "sys.meta_path.insert(0, Late())\n"
        "atexit.register(time.sleep, 0.5)\n",
        "utf-8",
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    began = time.perf_counter()
    start = cold_start(fake_bundle, "fake/fp32")
    assert start["total_s"] < time.perf_counter() - began - 1


def test_a_cold_start_that_fails_says_why(tmp_path: Path) -> None:
    """The engine breaks in the fresh process: its sentence, not a dump of the command line."""
    broken = write_fake_bundle(tmp_path / "broken.fer", fail_after=0)
    with pytest.raises(FerEdgeError, match="told to fail"):
        cold_start(broken, "fake/fp32")


def test_what_libraries_print_is_no_answer(fake_bundle: Path, chatty_children: None) -> None:
    assert cold_start(fake_bundle, "fake/fp32")["total_s"] > 0
