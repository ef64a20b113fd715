"""A clip as the frames of a camera that never ends."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from fer_edge import InputError

Image = npt.NDArray[np.uint8]


def repeated(clip: str | Path, frames: int) -> Iterator[Image]:
    """So many frames, uint8 ``[H, W, 3]`` BGR: the clip again and again, opened anew each time.

    Raises InputError for a file that gives no frame.
    """
    given = 0
    while given < frames:
        before = given
        capture = cv2.VideoCapture(str(clip))
        try:
            while given < frames and (got := capture.read())[0]:
                given += 1
                yield np.asarray(got[1], np.uint8)
        finally:
            capture.release()
        if given == before:
            raise InputError(f"{clip} is no video that OpenCV can read")


def paced(
    images: list[Image],
    hz: float,
    frames: int,
    *,
    now_s: Callable[[], float] = time.monotonic,
    sleep_s: Callable[[float], Any] = time.sleep,
) -> Iterator[tuple[float, Image]]:
    """``(time_s, image)`` at an absolute schedule: frame k comes at k / hz, never before."""
    start_s = now_s()
    for number in range(frames):
        while (wait_s := start_s + number / hz - now_s()) > 0:
            sleep_s(wait_s)
        yield number / hz, images[number % len(images)]
