"""OpenCV's log level: silent inside, as before outside, on every OpenCV that is allowed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from fer_edge import opencv_log

QUIET = """
import cv2, sys
import numpy as np
from fer_edge.opencv_log import quiet_opencv
with quiet_opencv():
    cv2.VideoCapture("/nowhere.mp4")
    cv2.imread("/nowhere.png")
print("inside done", file=sys.stderr, flush=True)
cv2.imread("/nowhere.png")
"""


def test_opencv_prints_nothing_inside_and_prints_again_outside() -> None:
    done = subprocess.run(
        [sys.executable, "-B", "-c", QUIET], capture_output=True, text=True, check=True
    )
    inside, outside = done.stderr.split("inside done\n")
    assert inside == ""
    assert "nowhere" in outside


FFMPEG = """
import sys
from fer_edge.errors import SourceError
from fer_edge.monitor import VideoFile
video = VideoFile(sys.argv[1])
video.open()
while True:
    try:
        video.read()
    except (StopIteration, SourceError):  # the end, or a damaged file
        break
"""


@pytest.mark.parametrize("chosen", [{}, {"OPENCV_FFMPEG_LOGLEVEL": "16"}])
def test_ffmpeg_prints_nothing_unless_it_is_asked_to(
    chosen: dict[str, str], tmp_path: Path
) -> None:
    clip, noise = tmp_path / "clip.mp4", np.random.default_rng(0)
    writer = cv2.VideoWriter(str(clip), cv2.VideoWriter.fourcc(*"mp4v"), 20.0, (64, 48))
    for _ in range(20):
        writer.write(noise.integers(0, 256, (48, 64, 3), np.uint8))
    writer.release()
    data = bytearray(clip.read_bytes())
    middle = data.index(b"mdat") + len(data) // 3
    data[middle : middle + 5000] = bytes(5000)
    clip.write_bytes(data)
    env = {key: value for key, value in os.environ.items() if not key.startswith("OPENCV_")}
    done = subprocess.run(
        [sys.executable, "-B", "-c", FFMPEG, str(clip)],
        capture_output=True,
        text=True,
        check=True,
        env={**env, **chosen},
    )
    # OpenCV prints the lines on standard output if a level is chosen.
    assert bool(done.stdout + done.stderr) == bool(chosen), done.stderr


class Level:
    """A level in either of the two places where OpenCV has had ``setLogLevel``."""

    def __init__(self) -> None:
        self.now = 3
        self.seen: list[int] = []

    def set(self, level: int) -> int:
        before, self.now = self.now, level
        self.seen.append(level)
        return before


@pytest.mark.parametrize("old", [True, False])
def test_each_place_of_the_function_is_used(old: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    level = Level()
    place = SimpleNamespace(setLogLevel=level.set)
    old_cv2 = SimpleNamespace(utils=SimpleNamespace(), setLogLevel=level.set)
    new_cv2 = SimpleNamespace(utils=SimpleNamespace(logging=place))
    monkeypatch.setattr(opencv_log, "cv2", old_cv2 if old else new_cv2)
    with opencv_log.quiet_opencv(), opencv_log.quiet_opencv():
        assert level.now == 0
    assert level.seen == [0, 3]


def test_an_opencv_without_levels_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opencv_log, "cv2", SimpleNamespace(utils=SimpleNamespace()))
    assert opencv_log.silence_opencv() is None
    with opencv_log.quiet_opencv():
        pass


def test_the_level_is_restored_after_an_error() -> None:
    place = getattr(cv2.utils, "logging", cv2)
    before = place.getLogLevel()

    def fail() -> None:
        with opencv_log.quiet_opencv():
            assert place.getLogLevel() == 0
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert place.getLogLevel() == before
