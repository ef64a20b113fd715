"""Endurance of a monitor: growth, limits and exit codes."""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from fer_edge import LimitError
from fer_edge.benchmarks.studies import endurance
from fer_edge.benchmarks.studies.clips import Watched
from fer_edge.monitor import Face, WholeFrame


def test_a_steady_monitor_passes(clip: Path, fake_bundle: Path) -> None:
    arguments = [str(clip), "--whole-frame", "--bundle", str(fake_bundle), "--frames", "2000"]
    done = CliRunner().invoke(endurance.main, arguments)
    assert done.exit_code == 0, done.output
    lines = [line.split() for line in done.stdout.splitlines()]
    counts = [int(line[0].replace(",", "")) for line in lines if line and line[0][0].isdigit()]
    assert counts == [1, *range(200, 2001, 200)]


class Leaky(WholeFrame):
    """Keeps 128 kB of each frame that is searched, or a descriptor of each 200th."""

    def __init__(self, keep: str) -> None:
        self.keep = keep
        self.memory: list[mmap.mmap] = []
        self.calls = 0
        self.open: list[int] = []

    def detect(self, image: np.ndarray) -> list[Face]:
        self.calls += 1
        if self.keep == "memory":  # pages of its own, not what other tests gave back
            self.memory.append(mmap.mmap(-1, 1 << 17))
            self.memory[-1].write(b"x" * (1 << 17))
        elif self.calls % 200 == 0:
            self.open.append(os.open(os.devnull, os.O_RDONLY))
        return super().detect(image)


@pytest.mark.parametrize("keep", ["memory", "descriptors"])
def test_what_leaks_breaks_the_limit(clip: Path, fake_bundle: Path, keep: str) -> None:
    detector = Leaky(keep)
    try:
        report = endurance.endure(Watched(clip, fake_bundle, detector), 2000)
    finally:
        for handle in detector.open:
            os.close(handle)
        for pages in detector.memory:
            pages.close()
    with pytest.raises(LimitError, match="memory grew" if keep == "memory" else "descriptors"):
        endurance.check(report, 4 * 2**20)


@pytest.mark.parametrize(
    ("grows", "jumps", "holds"), [(0, 0, True), (0, 50, True), (10, 0, False), (1, 0, True)]
)
def test_growth_is_told_from_a_jump(grows: float, jumps: float, holds: bool) -> None:
    """In MiB over the whole run; the jump is near the end."""
    readings = [
        [k * 100, int((200 + grows * k / 100 + (jumps if k > 92 else 0)) * 2**20), 9]
        for k in range(1, 101)
    ]
    report = endurance.judge(readings)
    assert report["descriptors_more"] == 0
    if holds:
        endurance.check(report, 4 * 2**20)
    else:
        with pytest.raises(LimitError, match="memory grew"):
            endurance.check(report, 4 * 2**20)


@pytest.mark.parametrize(
    ("change", "code"),
    [(lambda a: [*a, "--frames", "100"], 2), (lambda a: ["nowhere.mp4", *a[1:]], 3)],
)
def test_what_cannot_be_run_is_a_sentence_and_a_code(
    clip: Path, fake_bundle: Path, change: Callable[[list[str]], list[str]], code: int
) -> None:
    arguments = [str(clip), "--whole-frame", "--bundle", str(fake_bundle)]
    done = CliRunner().invoke(endurance.main, change(arguments))
    assert done.exit_code == code
    assert "Traceback" not in done.stderr


def test_too_few_frames_are_refused_with_the_reason(clip: Path) -> None:
    done = CliRunner().invoke(endurance.main, [str(clip), "--frames", "600"])
    assert done.exit_code == 2
    said = " ".join(done.stderr.split())
    assert "expected at least 2,000 frames, got 600: growth is a slope" in said
