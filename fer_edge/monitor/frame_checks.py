"""Is this frame a picture of now? Frozen, black, foreign size, wrong rate."""

from __future__ import annotations

from collections import deque

import cv2
import numpy as np
import numpy.typing as npt

from fer_edge.errors import InputError
from fer_edge.monitor.health import HealthMonitor
from fer_edge.monitor.settings import Settings
from fer_edge.preprocess import Image, as_bgr

_STEP_PX = 8
"""Frames are compared and judged on every 8th pixel of every 8th line."""
_RATE_S = 2.0
_RATE_FACTOR = 1.5


class FrameGuard:
    """Writes what is wrong with the frames into a HealthMonitor."""

    def __init__(self, settings: Settings, health: HealthMonitor) -> None:
        self._settings = settings
        self._health = health
        self._size = settings.expected_size
        self._last: npt.NDArray[np.uint8] | None = None
        self._changed_s = 0.0
        self._arrivals: deque[float] = deque()

    def check(self, image: object, arrived_s: float) -> Image | None:
        """The frame as uint8 BGR, or None if no answer can be had from it."""
        try:
            picture = as_bgr(image) if getattr(image, "ndim", 0) != 2 else as_bgr(image, "grey")
        except InputError as error:
            self._health.report(
                "picture", "lost", f"the source gave something else than a frame: {error}"
            )
            return None
        self._check_rate(arrived_s)
        self._check_size(picture)
        sample = np.ascontiguousarray(picture[::_STEP_PX, ::_STEP_PX])
        if self._last is None or not np.array_equal(sample, self._last):
            self._last, self._changed_s = sample, arrived_s
        still_s = arrived_s - self._changed_s
        if self._settings.frozen_s is not None and still_s >= self._settings.frozen_s:
            reason = f"the camera is frozen: the same picture for {still_s:.1f} s"
        elif max(cv2.meanStdDev(sample)[1].ravel().tolist()) < self._settings.black_below:
            reason = f"the picture shows nothing: brightness {sample.mean():.0f} of 255 all over"
        else:
            self._health.clear("picture")
            return picture
        self._health.report("picture", "lost", reason)
        return None

    def restart(self) -> None:
        """The source was opened anew: what it gave before says nothing about it now."""
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
            "size",
            "degraded",
            f"frames are {size[0]}x{size[1]}, expected {self._size[0]}x{self._size[1]}",
        )

    def _check_rate(self, arrived_s: float) -> None:
        wanted = self._settings.expected_hz
        if wanted is None:
            return
        self._arrivals.append(arrived_s)
        while self._arrivals[0] < arrived_s - _RATE_S:
            self._arrivals.popleft()
        watched_s = arrived_s - self._arrivals[0]
        if watched_s < _RATE_S / 2:
            return
        rate = (len(self._arrivals) - 1) / watched_s
        if wanted / _RATE_FACTOR <= rate <= wanted * _RATE_FACTOR:
            self._health.clear("rate")
        else:
            self._health.report(
                "rate", "degraded", f"frames come at {rate:.1f} Hz, expected {wanted:.1f} Hz"
            )
