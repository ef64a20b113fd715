"""What a monitor costs, and whether it keeps its memory: figures, limits and how they end."""

from __future__ import annotations

import json
import mmap
import os
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from fer_edge import InputError, LimitError
from fer_edge.benchmarks.studies import endurance
from fer_edge.benchmarks.studies import monitor_cost as monitor
from fer_edge.benchmarks.studies.clips import Watched, paced, repeated
from fer_edge.monitor import Face, MonitorState, WholeFrame


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven frames of noise."""
    path = tmp_path_factory.mktemp("clip") / "clip.avi"
    rng = np.random.default_rng(0)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 30, (64, 64))
    for _ in range(7):
        writer.write(rng.integers(0, 256, (64, 64, 3), np.uint8))
    writer.release()
    return path


def test_a_clip_goes_on_for_as_long_as_is_asked(clip: Path) -> None:
    frames = list(repeated(clip, 17))
    assert len(frames) == 17
    assert (frames[0] == frames[7]).all()
    assert (frames[2] == frames[16]).all()
    assert not (frames[0] == frames[1]).all()


def test_what_is_no_clip_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected a video"):
        list(repeated(tmp_path / "nowhere.mp4", 1))


@given(st.floats(1, 1000), st.integers(0, 40), st.lists(st.floats(0, 0.2), min_size=1))
def test_frames_never_come_before_their_time_and_do_not_drift(
    hz: float, frames: int, work_s: list[float]
) -> None:
    now = [50.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    images = [np.zeros((1, 1, 3), np.uint8)]
    for number, (time_s, _) in enumerate(
        paced(images, hz, frames, now_s=lambda: now[0], sleep_s=sleep)
    ):
        assert time_s == pytest.approx(number / hz)
        assert now[0] >= 50 + time_s - 1e-9
        if not any(work_s):
            assert now[0] == pytest.approx(50 + time_s, abs=1e-6)
        now[0] += work_s[number % len(work_s)]


def state(index: int, **times_ms: float) -> MonitorState:
    return MonitorState(index, index / 30, 2.0 + index % 2, times_ms=times_ms)


def test_figures_of_known_states() -> None:
    states = [state(k, predict=6.0, total=10.0, **({} if k % 3 else {"detect": 3.0}))
              for k in range(0, 90)]  # fmt: skip
    row = monitor.figures(states, 120, wall_s=3.0, cpu_s=1.5)
    assert (row["answered"], row["dropped"], row["answered_hz"]) == (90, 30, 30)
    assert row["stages"] == pytest.approx({"detect": 0.1, "predict": 0.6, "other": 0.3})
    assert row["ms_per_frame"] == pytest.approx(10)
    assert row["cpu_share"] == 0.5
    assert row["p50_ms"] == pytest.approx(2.5)
    assert row["p99_ms"] is None
    assert row["missing"]["p99_ms"] == 662 - 90


def test_a_monitor_is_measured_at_full_speed_and_behind_a_camera(
    clip: Path, fake_bundle: Path
) -> None:
    arguments = [str(clip), "--whole-frame", "--bundle", str(fake_bundle), "--hz", "500"]
    done = CliRunner().invoke(monitor.main, [*arguments, "--frames", "30", "--load", "--json"])
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    states = [row["state"] for row in report["rows"]]
    assert states == ["full speed", "camera", "camera, loaded"]
    full, *cameras = report["rows"]
    assert (full["answered"], full["dropped"]) == (30, 0)
    for row in report["rows"]:
        assert row["variant"] == "fake/fp32"
        assert 0 < row["answered"] + row["dropped"] == 30
        assert sum(row["stages"].values()) == pytest.approx(1)
        assert row["answered_hz"] > 0
    assert all(row["hz"] == 500 for row in cameras)
    text = monitor.table(report)
    assert "| camera, 500 Hz |" in text
    assert "n/a (" in text


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
