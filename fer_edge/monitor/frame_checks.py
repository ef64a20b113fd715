"""Frame checks: no picture, frozen, black, wrong size, wrong rate."""

from __future__ import annotations

from collections import deque

import cv2
import numpy as np
import numpy.typing as npt

from fer_edge.errors import InputError
from fer_edge.monitor.causes import HealthCause
from fer_edge.monitor.health import HealthMonitor
from fer_edge.monitor.settings import Settings
from fer_edge.preprocess import Image, as_bgr

_STEP_PX = 8
"""Step in pixels of the checked sample, along lines and across them."""
_RATE_S = 2.0
"""Seconds over which the frame rate is measured."""
_RATE_FACTOR = 1.5
"""Largest factor between the measured and the expected rate."""


class FrameChecks:
    """Checks each frame and reports its faults.

    Args:
        settings: Expected size and rate; limits of a frozen and of a black frame.
        health: Gets the faults as the parts "picture", "size" and "rate".
    """

    def __init__(self, settings: Settings, health: HealthMonitor) -> None:
        self._settings = settings
        self._health = health
        self._size = settings.expected_size
        self._last: npt.NDArray[np.uint8] | None = None
        self._changed_s = 0.0
        self._arrivals: deque[float] = deque()

    def check(self, image: object, time_s: float) -> Image | None:
        """Check one frame.

        Args:
            image: The frame as it came from the source, of any type.
            time_s: Stream time of the frame, in seconds.

        Returns:
            The frame as uint8 ``[H, W, 3]`` BGR, or None if it shows nothing of the present.
        """
        try:
            picture = as_bgr(image) if getattr(image, "ndim", 0) != 2 else as_bgr(image, "grey")
        except InputError as error:
            reason = f"the source gave no frame: {error}"
            self._health.report(HealthCause.NOT_A_FRAME, "lost", reason)
            return None
        self._check_rate(time_s)
        self._check_size(picture)
        sample = np.ascontiguousarray(picture[::_STEP_PX, ::_STEP_PX])
        if self._last is None or not np.array_equal(sample, self._last):
            self._last, self._changed_s = sample, time_s
        still_s = time_s - self._changed_s
        if self._settings.frozen_s is not None and still_s >= self._settings.frozen_s:
            cause = HealthCause.FROZEN
            reason = f"the camera is frozen: the same picture for {still_s:.1f} s"
        elif max(cv2.meanStdDev(sample)[1].ravel().tolist()) < self._settings.black_below:
            brightness = f"brightness {sample.mean():.0f} of 255 all over"
            cause = HealthCause.BLACK
            reason = f"the picture shows nothing: {brightness}"
        else:
            self._health.clear("picture")
            return picture
        self._health.report(cause, "lost", reason)
        return None

    def restart(self) -> None:
        """Forget earlier frames, because the source was opened again."""
        self._last = None
        self._arrivals.clear()

    def _check_size(self, picture: Image) -> None:
        size = picture.shape[1], picture.shape[0]
        if self._size is None:
            self._size = size
        if size == self._size:
            self._health.clear("size")
            return
        self._health.report(
            HealthCause.WRONG_SIZE,
            "degraded",
            f"frames are {size[0]}x{size[1]}, expected {self._size[0]}x{self._size[1]}",
        )

    def _check_rate(self, time_s: float) -> None:
        expected_hz = self._settings.expected_hz
        if expected_hz is None:
            return
        self._arrivals.append(time_s)
        while self._arrivals[0] < time_s - _RATE_S:
            self._arrivals.popleft()
        watched_s = time_s - self._arrivals[0]
        if watched_s < _RATE_S / 2:
            return
        rate_hz = (len(self._arrivals) - 1) / watched_s
        if expected_hz / _RATE_FACTOR <= rate_hz <= expected_hz * _RATE_FACTOR:
            self._health.clear("rate")
        else:
            self._health.report(
                HealthCause.WRONG_RATE,
                "degraded",
                f"frames come at {rate_hz:.1f} Hz, expected {expected_hz:.1f} Hz",
            )
