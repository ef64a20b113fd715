"""OpenCV's log level: silent inside, as before outside, on every OpenCV that is allowed."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace

import cv2
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
