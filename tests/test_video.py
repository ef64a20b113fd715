"""Watching a source: live frames, Ctrl-C, lost pictures, an empty source."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from fer_edge import video
from fer_edge.errors import SourceError
from fer_edge.monitor import DriverMonitor, EventRule, Frames, Health, Settings, WholeFrame
from fer_edge.monitor.recorder import VideoRecorder
from fer_edge.monitor.state import MonitorState


def noise(count: int) -> Frames:
    rng = np.random.default_rng(1)
    return Frames([rng.integers(0, 256, (64, 64, 3), np.uint8) for _ in range(count)], hz=30)


def frames_of(path: Path) -> list[np.ndarray]:
    capture = cv2.VideoCapture(str(path))
    frames = []
    while (got := capture.read())[0]:
        frames.append(got[1])
    capture.release()
    return frames


def test_a_camera_is_watched_for_some_seconds(fake_bundle: Path, tmp_path: Path) -> None:
    """Live frames, faster than real time; dropped ones are counted."""
    frames = [(k / 30, picture) for k, picture in enumerate(noise(60)._frames)]
    with (
        DriverMonitor(fake_bundle, Frames(frames, live=True), detector=WholeFrame()) as monitor,
        VideoRecorder(tmp_path / "out.mp4", 30) as recorder,
    ):
        tally, fault = video.watch(monitor, live=True, recorder=recorder, seconds=1)
    report = tally.as_dict()
    assert fault is None
    assert report["frames"] + report["dropped"] >= 31
    assert recorder.frames >= 1


@pytest.mark.parametrize("start_s", [0.0, 1000.0])
def test_seconds_count_from_the_first_frame(fake_bundle: Path, start_s: float) -> None:
    frames = [(start_s + k / 30, picture) for k, picture in enumerate(noise(60)._frames)]
    with DriverMonitor(fake_bundle, Frames(frames), detector=WholeFrame()) as monitor:
        tally, _ = video.watch(monitor, live=False, seconds=1)
    assert tally.frames == 31
    assert tally.as_dict()["stream_s"] == pytest.approx(1.0)
    assert tally.last is not None
    assert tally.last.time_s == pytest.approx(start_s + 1)


def test_a_source_may_start_at_any_time_after_a_wait() -> None:
    tally = video.Tally()
    for index, time_s, stream_s in ((-1, 0.5, 0), (-1, 2.5, 2), (0, 1000.0, 2), (1, 1001.0, 3)):
        tally.add(MonitorState(index, time_s, 0.0))
        assert tally.stream_s == pytest.approx(stream_s)
        assert tally.status.startswith(f"{stream_s:.1f} s")
    assert sum(tally.health_s.values()) == pytest.approx(3)


def test_ctrl_c_keeps_a_whole_video(fake_bundle: Path, tmp_path: Path) -> None:
    def interrupt(tally: video.Tally) -> None:
        if tally.frames == 5:
            raise KeyboardInterrupt

    path = tmp_path / "out.mp4"
    with (
        DriverMonitor(fake_bundle, noise(9), detector=WholeFrame()) as monitor,
        VideoRecorder(path, 30) as recorder,
    ):
        tally, fault = video.watch(monitor, live=False, recorder=recorder, tick=interrupt)
    assert (tally.frames, fault) == (5, None)
    assert len(frames_of(path)) == 5


def test_a_picture_that_shows_nothing_is_not_replaced_by_an_older_one(
    fake_bundle: Path, tmp_path: Path
) -> None:
    bright = [np.full((64, 64, 3), 255, np.uint8)] * 2
    frames = [*noise(3)._frames, *bright]
    path = tmp_path / "out.mp4"
    with (
        DriverMonitor(fake_bundle, Frames(frames, hz=30), detector=WholeFrame()) as monitor,
        VideoRecorder(path, 30) as recorder,
    ):
        tally, _ = video.watch(monitor, live=False, recorder=recorder)
    assert tally.health_s["lost"] > 0
    drawn = frames_of(path)
    assert len(drawn) == 5
    assert drawn[2][:30].mean() > 50
    assert drawn[4][:30].mean() < 10


def test_an_empty_source_is_an_error(fake_bundle: Path) -> None:
    with (
        DriverMonitor(fake_bundle, Frames([], hz=30), detector=WholeFrame()) as monitor,
        pytest.raises(SourceError, match="no frame"),
    ):
        video.watch(monitor, live=False)


@pytest.mark.parametrize("times", [[float("nan")] * 40, [0.0] * 40, [40.0 * k for k in range(40)]])
def test_a_recording_without_a_usable_clock_has_a_fault(
    times: list[float], fake_bundle: Path
) -> None:
    frames = list(zip(times, noise(40)._frames, strict=True))
    with DriverMonitor(fake_bundle, frames, detector=WholeFrame()) as monitor:
        tally, fault = video.watch(monitor, live=False)
    assert tally.frames == 40
    assert "time" in (fault or "")
    assert tally.last is not None
    assert tally.last.health.status == "lost"


def test_one_wrong_time_is_no_fault_and_costs_no_event(fake_bundle: Path) -> None:
    frames = list(enumerate(noise(120)._frames))
    timed = [(k / 30, frame) for k, frame in frames]
    timed[60] = (0.0, frames[60][1])
    settings = Settings(events=(EventRule("neutral", 2.0),))
    with DriverMonitor(fake_bundle, timed, detector=WholeFrame(), settings=settings) as monitor:
        tally, fault = video.watch(monitor, live=False)
    assert fault is None
    assert tally.as_dict()["stream_s"] == pytest.approx(119 / 30)
    assert tally.began == {"neutral": 1}
    assert tally.health_s["degraded"] == pytest.approx(1 / 30)


def test_a_disk_that_pauses_is_no_fault(fake_bundle: Path) -> None:
    waited, settings = threading.Event(), Settings(no_frame_s=0.1)

    def read() -> Iterator[tuple[float, np.ndarray]]:
        for k, frame in enumerate(noise(20)._frames):
            if k == 10:
                assert waited.wait(30)
            yield k / 30, frame

    def told(health: Health) -> None:
        if health.status == "lost":
            waited.set()

    with DriverMonitor(
        fake_bundle, read(), detector=WholeFrame(), settings=settings, on_health=told
    ) as monitor:
        tally, fault = video.watch(monitor, live=False)
    assert waited.is_set()
    assert (tally.frames, fault) == (20, None)


def test_a_source_that_breaks_off_after_a_pause_is_a_fault(fake_bundle: Path) -> None:
    def read() -> Iterator[tuple[float, np.ndarray]]:
        yield from ((k / 30, frame) for k, frame in enumerate(noise(5)._frames))
        raise OSError("read error")

    with DriverMonitor(fake_bundle, read(), detector=WholeFrame()) as monitor:
        tally, fault = video.watch(monitor, live=False)
    assert tally.frames == 5
    assert "read error" in (fault or "")


def test_rate_and_length_take_the_address_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "12:30 ! a.mp4"
    with VideoRecorder(path, 25) as recorder:
        for k in range(10):
            recorder.write(np.full((48, 64, 3), 20 * k, np.uint8), k / 25)
    for source in (path, str(path), f"file://{path}"):
        assert video.rate_and_length(source) == (25, 10)
    assert video.rate_and_length("rtsp://camera/1") == (30, None)
