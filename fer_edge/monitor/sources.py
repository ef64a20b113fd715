"""Where frames come from: a camera, a stream, a file, or anything that can be iterated."""

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
"""After these OpenCV gives up a network stream, and the monitor opens it again."""
_SHORT = 0.9
"""A file that gives less than this share of the frames that its header promises is damaged.
Containers are often off by a few frames."""


@dataclass(frozen=True, slots=True)
class Frame:
    """image: uint8 ``[H, W, 3]`` BGR or ``[H, W]`` grey, as it came and not yet checked.
    time_s: the source's own time, None where it has none."""

    image: Any
    time_s: float | None = None


class FrameSource(Protocol):
    """``live``: frames come when they come, and an old one is worth nothing.

    ``open`` may be called again after ``close``. ``read`` gives the next frame, None if it did not
    come, and raises StopIteration at the end. Whatever else the two raise, and None, is a fault: a
    live source is closed and, after a while, opened again; another ends with it.
    """

    live: bool

    def open(self) -> None: ...

    def read(self) -> Frame | None: ...

    def close(self) -> None: ...


class Camera:
    """A camera index, a stream (``rtsp://…``), a GStreamer pipeline, or a device path."""

    live = True

    def __init__(self, device: int | str) -> None:
        self._device = device
        self._capture: Any = None

    def open(self) -> None:
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
            capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)  # where the driver obeys: no old frames
        if not capture.isOpened():
            capture.release()
            # The sentence goes into health and logs, where no password belongs.
            name = re.sub(r"//[^/@\s]*@", "//***@", str(device))
            raise SourceError(f"the camera {name} cannot be opened; is it plugged in, and free?")
        self._capture = capture

    def read(self) -> Frame | None:
        done, image = self._capture.read()
        return Frame(image) if done else None

    def close(self) -> None:
        if self._capture is not None:
            self._capture.release()
            self._capture = None


class VideoFile:
    """A recording; every frame is given, with its own time."""

    live = False

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        self._capture: Any = None
        self._given = 0

    def open(self) -> None:
        self.close()
        if not self._path.is_file():
            raise SourceError(f"expected a video file, got {self._path}")
        self._capture = cv2.VideoCapture(str(self._path))
        self._given = 0
        if not self._capture.isOpened():
            self.close()
            raise SourceError(f"{self._path} is no video that OpenCV can read, or is damaged")

    def read(self) -> Frame:
        capture = self._capture
        done, image = capture.read()
        if done:
            self._given += 1
            return Frame(image, capture.get(cv2.CAP_PROP_POS_MSEC) / 1e3)
        promised = capture.get(cv2.CAP_PROP_FRAME_COUNT)
        if self._given < _SHORT * promised:
            raise SourceError(
                f"{self._path} is damaged: it gave {self._given} of {promised:.0f} frames"
            )
        raise StopIteration

    def close(self) -> None:
        if self._capture is not None:
            self._capture.release()
            self._capture = None


class Frames:
    """Frames that the application has: arrays, or pairs of ``(time_s, array)``.

    hz: frames per second of arrays without a time; None takes the clock when they come.
    live: drop frames that nobody was there for, instead of waiting.
    """

    def __init__(
        self, frames: Iterable[Any], *, hz: float | None = None, live: bool = False
    ) -> None:
        if hz is not None and not hz > 0:
            raise InputError(f"expected frames per second above 0, got {hz}")
        self.live = live
        self._frames = frames
        self._hz = hz
        self._given = 0
        self._iterator: Iterator[Any] | None = None

    def open(self) -> None:
        self._iterator = iter(self._frames)

    def read(self) -> Frame:
        assert self._iterator is not None
        item = next(self._iterator)
        self._given += 1
        if isinstance(item, tuple) and len(item) == 2 and not isinstance(item[0], np.ndarray):
            return Frame(item[1], float(item[0]))
        return Frame(item, None if self._hz is None else (self._given - 1) / self._hz)

    def close(self) -> None:
        self._iterator = None


def open_source(source: object) -> FrameSource:
    """The source for what a user names: a camera index, a file's path, ``rtsp://…`` or a GStreamer
    pipeline (with `` ! ``), an iterable of frames, or a FrameSource. Opens nothing yet.

    Raises InputError for anything else.
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
