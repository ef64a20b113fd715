"""Saved videos and events: whole, timed right, or not there at all."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from fer_edge.errors import InputError
from fer_edge.monitor.recorder import EventLog, VideoRecorder
from fer_edge.monitor.state import Event
from fer_edge.preprocess import Image


def grey(value: int, width: int = 64, height: int = 48) -> Image:
    return np.full((height, width, 3), value, np.uint8)


def read(path: Path) -> list[Image]:
    capture = cv2.VideoCapture(str(path))
    frames = []
    while (got := capture.read())[0]:
        frames.append(np.asarray(got[1], np.uint8))
    capture.release()
    return frames


@pytest.mark.parametrize(("suffix", "codec"), [(".mp4", "mpeg4"), (".webm", "vp8")])
def test_a_video_reads_back_as_it_was_written(tmp_path: Path, suffix: str, codec: str) -> None:
    path = tmp_path / f"drawn{suffix}"
    with VideoRecorder(path, 25) as recorder:
        for k in range(20):
            recorder.write(grey(12 * k), k / 25)
    assert recorder.frames == 20
    means = [frame.mean() for frame in read(path)]
    assert means == pytest.approx([12 * k for k in range(20)], abs=4)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    if shutil.which("ffprobe") is None:
        pytest.skip("read back with OpenCV; ffprobe is not installed")
    fields = "stream=codec_name,width,height,r_frame_rate,pix_fmt"
    said = subprocess.run(
        ["ffprobe", "-v", "error", "-show_entries", fields, "-of", "json", str(path)],
        capture_output=True,
        check=True,
    )
    (stream,) = json.loads(said.stdout)["streams"]
    assert stream["codec_name"] == codec
    assert (stream["width"], stream["height"], stream["pix_fmt"]) == (64, 48, "yuv420p")
    assert stream["r_frame_rate"] == "25/1"


@pytest.mark.parametrize(("suffix", "hz"), [(".mp4", 0.01), (".webm", 0.1), (".webm", 240)])
def test_the_lowest_and_highest_rates_are_written_without_a_word(
    tmp_path: Path, suffix: str, hz: float, capfd: pytest.CaptureFixture[str]
) -> None:
    for count in (1, 2, 7):
        with VideoRecorder(tmp_path / f"{count}{suffix}", hz) as recorder:
            for k in range(count):
                recorder.write(grey(30 * k), k / hz)
        assert len(read(recorder.path)) == count
    assert capfd.readouterr().err == ""


def test_frames_stand_where_their_time_is(tmp_path: Path) -> None:
    """10 Hz into 30: each three times. 60 Hz into 30: every other. A second without: repeated."""
    with VideoRecorder(tmp_path / "a.mp4", 30) as slow:
        for k in range(5):
            slow.write(grey(40 * k), 100 + k / 10)
    assert slow.frames == 13
    with VideoRecorder(tmp_path / "b.mp4", 30) as fast:
        for k in range(60):
            fast.write(grey(4 * k), k / 60)
    assert fast.frames == pytest.approx(30, abs=1)
    with VideoRecorder(tmp_path / "c.mp4", 30) as gap:
        gap.write(grey(0), 0)
        gap.write(grey(200), 1)
    assert gap.frames == 31


def test_a_clock_that_leaps_does_not_fill_the_disk(tmp_path: Path) -> None:
    with VideoRecorder(tmp_path / "a.mp4", 30) as recorder:
        recorder.write(grey(0), 0)
        recorder.write(grey(99), 1e9)
        recorder.write(grey(200), 1e9 + 1 / 30)
    assert recorder.frames == 1 + 300 + 1


@pytest.mark.parametrize("size", [(65, 47), (8, 8), (2, 300), (9, 9)])
def test_odd_sizes_are_filled_up(tmp_path: Path, size: tuple[int, int]) -> None:
    with VideoRecorder(tmp_path / "a.mp4", 30) as recorder:
        for k in range(3):
            recorder.write(grey(50, *size), k / 30)
        recorder.write(grey(50, 200, 100), 3 / 30)  # a camera that changed its mode
    frames = read(recorder.path)
    assert [f.shape for f in frames] == [(size[1] + size[1] % 2, size[0] + size[0] % 2, 3)] * 4
    assert frames[0].mean() == pytest.approx(50, abs=4)


def test_what_breaks_off_leaves_the_older_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(b"older")
    with suppress(RuntimeError), VideoRecorder(path, 30) as recorder:
        recorder.write(grey(0), 0)
        raise RuntimeError
    assert path.read_bytes() == b"older"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("stem", ["a" * 251, "é" * 125])
def test_a_long_name_is_written(stem: str, tmp_path: Path) -> None:
    with VideoRecorder(tmp_path / f"{stem}.mp4", 30) as recorder:
        recorder.write(grey(0), 0)
    assert [path.name for path in tmp_path.iterdir()] == [f"{stem}.mp4"]


def test_without_a_frame_there_is_no_file(tmp_path: Path) -> None:
    with VideoRecorder(tmp_path / "a.mp4", 30):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "hz", "says"),
    [
        ("a.avi", 30, ".webm"),
        ("a", 30, ".mp4"),
        ("a.mp4", 0, "frames per second"),
        ("a.mp4", float("nan"), "frames per second"),
        ("a.mp4", "30", "frames per second"),
        ("a.webm", 0.05, r"0\.1 to 240 frames per second"),
        ("no/a.mp4", 30, "cannot write"),
    ],
)
def test_what_cannot_be_written_is_told_at_once(
    tmp_path: Path, name: str, hz: Any, says: str
) -> None:
    with pytest.raises(InputError, match=says):
        VideoRecorder(tmp_path / name, hz)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_in_the_place_of_the_video_is_told_at_once(tmp_path: Path) -> None:
    folder = tmp_path / "a.mp4"
    folder.mkdir()
    with pytest.raises(InputError, match=r"cannot write .*a\.mp4: Is a directory"):
        VideoRecorder(folder, 30)
    assert list(tmp_path.iterdir()) == [folder]


FULL_DISK = """
import resource, signal, sys
import numpy as np
from fer_edge.errors import InputError
from fer_edge.monitor.recorder import VideoRecorder
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
rng = np.random.default_rng(0)
try:
    with VideoRecorder(sys.argv[1], 30) as recorder:
        for k in range(30):
            recorder.write(rng.integers(0, 256, (120, 160, 3), np.uint8), k / 30)
except InputError as error:
    print(error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="files have no limit there")
def test_a_full_disk_is_told(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path / "a.mp4")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "The disk may be full" in done.stdout, done.stderr
    assert list(tmp_path.iterdir()) == []


def test_each_event_is_there_as_soon_as_it_was_told(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text("of another run")
    events = [Event("anger", 1, 2.5, None, 0.7), Event("anger", 1, 2.5, 6.0, 0.65)]
    with EventLog(path) as log:
        for count, event in enumerate(events, 1):
            log.write(event)
            lines = path.read_text().splitlines()
            assert len(lines) == log.lines == count
            assert json.loads(lines[-1]) == event.as_dict()


def test_a_log_without_a_frame_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    old, new = tmp_path / "old.jsonl", tmp_path / "new.jsonl"
    old.write_text("of another run")
    for path in (old, new):
        EventLog(path).close()
    assert old.read_text() == "of another run"
    assert not new.exists()
    for path in (old, new):
        with EventLog(path) as log:
            log.begin()
        assert path.read_text() == ""


def test_events_that_cannot_be_written_are_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot write"):
        EventLog(tmp_path)
    if Path("/dev/full").exists():
        with EventLog("/dev/full") as log, pytest.raises(InputError, match="cannot write"):
            log.write(Event("fear", 1, 0.0, None, 0.7))


FULL_LOG = """
import os, resource, signal, sys
from fer_edge.errors import InputError
from fer_edge.monitor.recorder import EventLog
from fer_edge.monitor.state import Event
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
event = Event("anger", 1, 2.5, None, 0.7)
with EventLog(sys.argv[1]) as log:
    log.write(event)
    resource.setrlimit(resource.RLIMIT_FSIZE, (os.path.getsize(sys.argv[1]) + 30, -1))
    for _ in range(2):
        try:
            log.write(event)
        except InputError as error:
            print(error)
    resource.setrlimit(resource.RLIMIT_FSIZE, (-1, -1))
    log.write(event)
    print(log.lines)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="files have no limit there")
def test_after_a_full_disk_the_log_has_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    command = [sys.executable, "-c", FULL_LOG, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    *refusals, lines = done.stdout.splitlines()
    assert (len(refusals), lines) == (2, "2"), done.stderr
    assert all("Free some space" in refusal for refusal in refusals)
    assert [json.loads(line)["kind"] for line in path.read_text().splitlines()] == ["anger"] * 2


def test_a_closed_log_stays_closed(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "events.jsonl")
    log.close()
    with (tmp_path / "other").open("wb") as other:  # which takes the number of the log's handle
        log.close()
        for act in (log.begin, lambda: log.write(Event("fear", 1, 0.0, None, 0.7))):
            with pytest.raises(InputError, match="is closed"):
                act()
        other.write(b"whole")
    assert (tmp_path / "other").read_bytes() == b"whole"


@pytest.mark.parametrize("frames", [0, 2])
def test_a_closed_video_stays_closed(frames: int, tmp_path: Path) -> None:
    recorder = VideoRecorder(tmp_path / "a.mp4", 30)
    for number in range(frames):
        recorder.write(grey(number), number / 30)
    recorder.close()
    before = sorted(path.stat().st_mtime_ns for path in tmp_path.iterdir())
    with pytest.raises(InputError, match="is closed"):
        recorder.write(grey(0), 1)
    recorder.close()
    assert sorted(path.stat().st_mtime_ns for path in tmp_path.iterdir()) == before


def test_a_video_that_broke_off_stays_closed(tmp_path: Path) -> None:
    with suppress(RuntimeError), VideoRecorder(tmp_path / "a.mp4", 30) as recorder:
        recorder.write(grey(0), 0)
        raise RuntimeError
    recorder.close()
    with pytest.raises(InputError, match="is closed"):
        recorder.write(grey(0), 1)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("time_s", [float("nan"), float("inf"), -1e300, None, "1"])
@pytest.mark.parametrize("frames", [0, 2])
def test_a_frame_needs_a_time(frames: int, time_s: Any, tmp_path: Path) -> None:
    with VideoRecorder(tmp_path / "a.mp4", 30) as recorder:
        for number in range(frames):
            recorder.write(grey(number), number / 30)
        with pytest.raises(InputError, match="time of the frame"):
            recorder.write(grey(0), time_s)
    assert len(list(tmp_path.iterdir())) == min(frames, 1)


@pytest.mark.parametrize(
    "frame", [None, np.zeros((48, 64, 3)), np.zeros((48, 64, 4), np.uint8), grey(0, 0)]
)
def test_a_frame_is_a_picture(frame: Any, tmp_path: Path) -> None:
    with VideoRecorder(tmp_path / "a.mp4", 30) as recorder, pytest.raises(InputError):
        recorder.write(frame, 0)
    assert list(tmp_path.iterdir()) == []
