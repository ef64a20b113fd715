"""Log lines of OpenCV and its FFmpeg, kept off standard error.

This works on every version of OpenCV that is allowed.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import cv2

_SILENT = 0
"""OpenCV's ``LOG_LEVEL_SILENT``; the number is the same in all versions."""

_lock = threading.Lock()
_depth = 0
_before: int | None = None


def silence_opencv() -> int | None:
    """Stop OpenCV's log lines for the process.

    Returns:
        The level before, or None where this OpenCV has no functions for it.
    """
    return _set_level(_SILENT)


def silence_ffmpeg() -> None:
    """Stop FFmpeg's log lines for the process, unless the user has chosen a level.

    OpenCV 5 reads the level once, as it opens the first video. A damaged clip gives hundreds of
    lines.
    """
    if "OPENCV_FFMPEG_DEBUG" not in os.environ:
        os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # AV_LOG_QUIET


@contextmanager
def quiet_opencv() -> Iterator[None]:
    """Stop OpenCV's log lines inside the block.

    The level is one for the process. Blocks may overlap in several threads: the first one saves the
    level, the last one restores it.
    """
    global _depth, _before
    with _lock:
        if _depth == 0:
            _before = silence_opencv()
        _depth += 1
    try:
        yield
    finally:
        with _lock:
            _depth -= 1
            if _depth == 0 and _before is not None:
                _set_level(_before)


def _reset() -> None:
    """Start again in a forked child, whose parent may have been in a block."""
    global _lock, _depth
    _lock = threading.Lock()
    if _depth and _before is not None:
        _set_level(_before)
    _depth = 0


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset)


def _set_level(level: int) -> int | None:
    """Set the level and return the one before.

    OpenCV 4.8 to 4.12 has the function in ``cv2`` itself.
    """
    place: Any = getattr(cv2.utils, "logging", cv2)
    if not hasattr(place, "setLogLevel"):
        return None
    previous: int = place.setLogLevel(level)
    return previous
