"""Sources of frames: cameras, streams, video files and iterables."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

import cv2
import numpy as np

from fer_edge.errors import InputError, SourceError

_OPEN_TIMEOUT_MS, _READ_TIMEOUT_MS = 5000, 2000
"""Milliseconds until OpenCV gives up a network stream. The monitor then opens it again."""
_SHORT = 0.9
"""Smallest share (0..1) of the frames announced in a file's header. Below it the file is damaged;
containers are often off by a few frames."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame of a source.

    Attributes:
        image: uint8 ``[H, W, 3]`` BGR or ``[H, W]`` grey. The monitor checks it later.
        time_s: The source's own time in seconds, or None to use the arrival.
    """

    image: Any
    time_s: float | None = None


class FrameSource(Protocol):
    """Protocol of a source of frames.

    A fault is None from ``read``, or an exception from ``open`` or ``read``. After a fault, a live
    source is closed and opened again after a pause; any other source ends.

    Attributes:
        live: True if old frames are worthless (a camera): the monitor then drops frames that it
            cannot process in time.
    """

    live: bool

    def open(self) -> None:
        """Open the source. May be called again after ``close``."""

    def read(self) -> Frame | None:
        """Return the next frame, or None if it did not come. Raises StopIteration at the end."""

    def close(self) -> None:
        """Release the source. May be called twice."""


class Camera:
    """A camera, a network stream or a GStreamer pipeline, read through OpenCV.

    Args:
        device: Index of a camera (0), device path (``/dev/video0``), address of a stream
            (``rtsp://…``), or GStreamer pipeline (contains `` ! ``).
    """

    live = True

    def __init__(self, device: int | str) -> None:
        self._device = device
        self._capture: Any = None

    def open(self) -> None:
        """Open the camera. Raises SourceError if OpenCV cannot."""
        self.close()
        device = self._device
        if isinstance(device, str) and " ! " in device:  # may name a stream inside
            capture = cv2.VideoCapture(device, cv2.CAP_GSTREAMER)
        elif isinstance(device, str) and "://" in device:
            timeouts = [
                *(cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, _OPEN_TIMEOUT_MS),
                *(cv2.CAP_PROP_READ_TIMEOUT_MSEC, _READ_TIMEOUT_MS),
            ]
            capture = cv2.VideoCapture(device, cv2.CAP_FFMPEG, timeouts)
        else:
            capture = cv2.VideoCapture(device)
            capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)  # no old frames, if the driver obeys
        if not capture.isOpened():
            capture.release()
            # Health and logs show the message: it must not contain a password.
            name = re.sub(r"//[^/@\s]*@", "//***@", str(device))
            raise SourceError(
                f"the camera {name} cannot be opened. Check that it is plugged in and that no "
                "other program uses it"
            )
        self._capture = capture

    def read(self) -> Frame | None:
        """Return the next frame, or None if the camera gives none."""
        done, image = self._capture.read()
        return Frame(image) if done else None

    def close(self) -> None:
        """Release the camera."""
        if self._capture is not None:
            self._capture.release()
            self._capture = None


class VideoFile:
    """A video file. Every frame is delivered, with its own time.

    Args:
        path: A file that OpenCV can read.
    """

    live = False

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        self._capture: Any = None
        self._count = 0

    def open(self) -> None:
        """Open the file. Raises SourceError if it is missing or no video."""
        self.close()
        if not self._path.is_file():
            raise SourceError(f"expected a video file, got {self._path}. Check the path")
        self._capture = cv2.VideoCapture(str(self._path))
        self._count = 0
        if not self._capture.isOpened():
            self.close()
            raise SourceError(
                f"{self._path} is no video that OpenCV can read, or is damaged. Convert it to MP4 "
                "or WebM"
            )

    def read(self) -> Frame:
        """Return the next frame. Raises SourceError if the file ends too early."""
        capture = self._capture
        done, image = capture.read()
        if done:
            self._count += 1
            return Frame(image, capture.get(cv2.CAP_PROP_POS_MSEC) / 1e3)
        announced = capture.get(cv2.CAP_PROP_FRAME_COUNT)
        if self._count < _SHORT * announced:
            raise SourceError(
                f"{self._path} is damaged: it gave {self._count} of {announced:.0f} frames"
            )
        raise StopIteration

    def close(self) -> None:
        """Close the file."""
        if self._capture is not None:
            self._capture.release()
            self._capture = None


class Frames:
    """Frames of an application.

    Args:
        frames: Arrays (uint8 ``[H, W, 3]`` BGR or ``[H, W]`` grey), or pairs ``(time_s, array)``.
        hz: Frames per second of arrays without a time. None uses the clock at their arrival.
        live: True drops frames that the monitor cannot process in time. False waits for it.

    Raises:
        InputError: ``hz`` is not above 0.
    """

    def __init__(
        self, frames: Iterable[Any], *, hz: float | None = None, live: bool = False
    ) -> None:
        if hz is not None and not hz > 0:
            raise InputError(f"expected frames per second above 0, got {hz}")
        self.live = live
        self._frames = frames
        self._hz = hz
        self._count = 0
        self._iterator: Iterator[Any] | None = None

    def open(self) -> None:
        """Start to iterate."""
        self._iterator = iter(self._frames)

    def read(self) -> Frame:
        """Return the next frame. Raises StopIteration at the end."""
        assert self._iterator is not None
        item = next(self._iterator)
        self._count += 1
        if isinstance(item, tuple) and len(item) == 2 and not isinstance(item[0], np.ndarray):
            return Frame(item[1], float(item[0]))
        return Frame(item, None if self._hz is None else (self._count - 1) / self._hz)

    def close(self) -> None:
        """Drop the iterator."""
        self._iterator = None


def open_source(source: object) -> FrameSource:
    """Return the FrameSource for a user's argument, without opening it.

    Args:
        source: Camera index, path of a file, ``rtsp://…``, GStreamer pipeline (contains `` ! ``),
            iterable of frames, or FrameSource.

    Raises:
        InputError: ``source`` is none of these.
    """
    if isinstance(source, bool):
        raise InputError(f"expected a camera index, path, stream or frames, got {source!r}")
    if isinstance(source, int):
        return Camera(source)
    if isinstance(source, str) and ("://" in source or " ! " in source or source[:5] == "/dev/"):
        return Camera(source)
    if isinstance(source, str | Path):
        return VideoFile(source)
    if all(hasattr(source, name) for name in ("live", "open", "read", "close")):
        return cast(FrameSource, source)
    if isinstance(source, Iterable):
        return Frames(source)
    raise InputError(
        "expected a camera index, a path, a stream, a GStreamer pipeline or an iterable of frames, "
        f"got {type(source).__name__}"
    )
