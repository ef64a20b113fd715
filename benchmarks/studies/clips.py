"""Clips as cameras: endless frames of a video file."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from fer_edge import InputError
from fer_edge.monitor import Detector, DriverMonitor, Frames
from fer_edge.progress import Step, silent

Image = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Watched:
    """Clip, and the settings of the monitor that watches it.

    Attributes:
        clip: Video file.
        bundle: Folder of the bundle; None means the shipped one.
        detector: Face detector, or the file of one; None means the monitor's own.
        step: Progress callback.
    """

    clip: str | Path
    bundle: str | Path | None = None
    detector: Detector | str | Path | None = None
    step: Step = silent

    def monitor(self, frames: Frames) -> DriverMonitor:
        """Return a monitor of these frames."""
        return DriverMonitor(self.bundle, frames, detector=self.detector)

    def frames(self, count: int) -> Iterator[Image]:
        """Yield ``count`` frames of the clip; see ``repeated``."""
        return repeated(self.clip, count)


def repeated(clip: str | Path, frames: int) -> Iterator[Image]:
    """Yield frames of a clip that starts again at its end.

    Args:
        clip: Video file; it is opened again for each repetition.
        frames: Number of frames.

    Yields:
        Images, uint8 ``[H, W, 3]`` BGR.

    Raises:
        InputError: The file has no frame that OpenCV can read.
    """
    count = 0
    while count < frames:
        before = count
        capture = cv2.VideoCapture(str(clip))
        try:
            while count < frames and (read := capture.read())[0]:
                count += 1
                yield np.asarray(read[1], np.uint8)
        finally:
            capture.release()
        if count == before:
            raise InputError(
                f"expected a video that OpenCV can read, got {clip}. Check that it plays"
            )


def paced(
    images: list[Image],
    hz: float,
    frames: int,
    *,
    now_s: Callable[[], float] = time.monotonic,
    sleep_s: Callable[[float], Any] = time.sleep,
) -> Iterator[tuple[float, Image]]:
    """Yield ``(time_s, image)`` on an absolute schedule.

    Frame k comes at k / hz, never before.
    """
    start_s = now_s()
    for number in range(frames):
        while (wait_s := start_s + number / hz - now_s()) > 0:
            sleep_s(wait_s)
        yield number / hz, images[number % len(images)]
