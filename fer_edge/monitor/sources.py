"""Sources of frames: cameras, streams, video files and iterables."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast
from urllib.parse import unquote

import cv2
import numpy as np

from fer_edge.errors import InputError, SourceError, next_step
from fer_edge.loaded import MOST_THREADS
from fer_edge.monitor.opencv_names import opencv_name
from fer_edge.monitor.typed_fields import is_number
from fer_edge.monitor.video_containers import missing_bytes, shown_share
from fer_edge.opencv_log import quiet_opencv, silence_ffmpeg
from fer_edge.paths import absolute, as_path
from fer_edge.plain_file import is_file
from fer_edge.shown import shown, without_password

_TIMEOUTS = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, 5000, cv2.CAP_PROP_READ_TIMEOUT_MSEC, 2000]
"""Milliseconds until OpenCV gives up a network stream. The monitor then opens it again."""
_COMPLETE = 0.9
"""Smallest share (0..1) of the frames that an MP4 states. Below it the file is damaged."""
_CUT_OFF = 0.02
"""Largest share (0..1) of a file that may be missing. An index at its end has under 1 %."""
_RAW_HZ = 25.0
"""Frames per second of a file without times and without a rate: FFmpeg's default for raw video."""
_NO_TIME_S = 1e12
"""Seconds from which a file's time is none."""
_RATES_HZ = 1.0, 240.0
"""Lowest and highest believed rate of a file. OpenCV 4.8 gives 1,000 for raw H.264."""
_LAST_INDEX = 2**31 - 1
"""Largest index of a camera that OpenCV can take."""


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

    Images are copied, because a source may write to the same memory again. A source whose images
    each have memory of their own may set ``fresh_images = True`` to save the copy.

    Attributes:
        live: True if old frames are worthless (a camera): the monitor then drops frames that it
            cannot process in time.
    """

    live: bool

    def open(self) -> None:
        """Open the source. May be called again after ``close``."""

    def read(self) -> Frame | None:
        """Return the next frame, or None if it did not come.

        Raises StopIteration at the end.
        """

    def close(self) -> None:
        """Release the source. May be called twice."""


class Camera:
    """A camera, a network stream or a GStreamer pipeline, read through OpenCV.

    Args:
        device: Index of a camera (0), device path (``/dev/video0``), address of a stream
            (``rtsp://…``), or GStreamer pipeline (contains `` ! ``).

    Raises:
        InputError: The name is not UTF-8, the index is below 0 or above 2,147,483,647, or
            ``device`` is neither.
    """

    live = True
    fresh_images = True

    def __init__(self, device: int | str) -> None:
        is_index = type(device) is int and 0 <= device <= _LAST_INDEX
        if not (is_index or isinstance(device, str)):
            raise InputError(
                f"expected the number of a camera such as 0, or a name, got {shown(device)}. "
                "Choose another"
            )
        self._device = opencv_name(device) if isinstance(device, str) else device
        self._capture: Any = None
        self._count, self._last_s, self._frames, self._hz = 0, 0.0, math.inf, 0.0

    def open(self) -> None:
        """Open the camera. Raises SourceError if OpenCV cannot; WrongFramesError for a pipe."""
        self.close()
        self._count, self._last_s = 0, 0.0
        silence_ffmpeg()
        with quiet_opencv():
            self._capture = self._open()
        if self._capture.isOpened():
            self._frames, self._hz = self._stated()
            return
        self.close()
        # Health and logs show the message: it must not contain a password.
        name = without_password(str(self._device))
        if self._is_pipe():  # it can be read once: another attempt gives nothing
            raise WrongFramesError(
                f"{name} is a pipe without a video that OpenCV can read. Save it to a file first"
            )
        raise SourceError(
            f"the camera {name} cannot be opened. Check that it is plugged in and that no "
            "other program uses it"
        )

    def _open(self) -> Any:
        device = self._device
        if isinstance(device, str) and " ! " in device:  # may name a stream inside
            return cv2.VideoCapture(device, cv2.CAP_GSTREAMER)
        if isinstance(device, str) and "://" in device:
            return cv2.VideoCapture(device, cv2.CAP_FFMPEG, _TIMEOUTS)
        capture = cv2.VideoCapture(device)
        capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)  # no old frames, if the driver obeys
        return capture

    def read(self) -> Frame | None:
        """Return the next frame, or None if the camera gives none.

        Raises:
            StopIteration: A clip behind an address (``https://…/clip.mp4``) is at its end, or a
                pipe (``/dev/stdin``). Without a duration that fits (raw H.264) it is a live stream.
        """
        done, image = self._capture.read()
        if done:
            self._count += 1
            if self._frames < math.inf:
                self._last_s = float(self._capture.get(cv2.CAP_PROP_POS_MSEC)) / 1e3
            return Frame(image)
        # Of a clip with a changing rate, OpenCV's number is too large: its time counts too.
        read = max(self._count, self._last_s * self._hz + 1)
        if self._is_pipe() or (self._count and read >= _COMPLETE * self._frames):
            raise StopIteration
        return None

    def _stated(self) -> tuple[float, float]:
        """Return frames and rate of a clip behind an address; infinitely many of a camera."""
        frames = float(self._capture.get(cv2.CAP_PROP_FRAME_COUNT))
        hz = float(self._capture.get(cv2.CAP_PROP_FPS))
        is_clip = "://" in str(self._device) and frames > 0 and 0 < hz < math.inf
        return (frames, hz) if is_clip else (math.inf, 0.0)

    def _is_pipe(self) -> bool:
        device = self._device
        return isinstance(device, str) and device.startswith("/dev/") and Path(device).is_fifo()

    def close(self) -> None:
        """Release the camera."""
        if self._capture is not None:
            self._capture.release()
            self._capture = None


class VideoFile:
    """A video file. Every frame is delivered, with its own time.

    Files without times (raw H.264 or HEVC) count their frames by the rate that OpenCV reports.

    Args:
        path: A file that OpenCV can read.
        threads: Number of threads that decode. None lets the decoder choose.

    Raises:
        InputError: The name is not UTF-8, or ``threads`` is no number of threads.
    """

    live = False
    fresh_images = True

    def __init__(self, path: str | Path, *, threads: int | None = None) -> None:
        self._path = Path(opencv_name(as_path(path, "the video")))
        if threads is not None and not (type(threads) is int and 1 <= threads <= MOST_THREADS):
            raise InputError(f"expected 1 to {MOST_THREADS} threads, got {shown(threads)}")
        self._threads = threads
        self._capture: Any = None
        self._count = 0
        self._has_times = False

    def open(self) -> None:
        """Open the file. Raises SourceError if it is missing or no video."""
        self.close()
        if not is_file(self._path):
            raise SourceError(f"expected a video file, got {self._path}. Check the path")
        self._count, self._has_times = 0, False
        # FFmpeg reads "2026-11-25T12:30:01.mp4" as an address. An absolute path has no protocol.
        name = opencv_name(absolute(self._path))
        silence_ffmpeg()
        with quiet_opencv():
            if self._threads is not None:
                options = [cv2.CAP_PROP_N_THREADS, self._threads]
                self._capture = cv2.VideoCapture(name, cv2.CAP_FFMPEG, options)
            if self._capture is None or not self._capture.isOpened():
                self._capture = cv2.VideoCapture(name)
        if not self._capture.isOpened():
            self.close()
            raise _no_video(self._path)

    def read(self) -> Frame:
        """Return the next frame. Raises SourceError if the file has none or ends too early."""
        done, image = self._capture.read()
        if done:
            self._count += 1
            return Frame(image, self._time_s())
        self._check_complete()
        if self._count == 0:
            raise SourceError(
                f"{self._path} has no frame that OpenCV can read. Convert it to MP4 or WebM"
            )
        raise StopIteration

    def _time_s(self) -> float:
        """Return the time of the frame that was just read."""
        time_s = float(self._capture.get(cv2.CAP_PROP_POS_MSEC)) / 1e3
        # Without times OpenCV 5 gives 0, and 4.8 FFmpeg's mark for "none": -2^63 ticks.
        self._has_times = self._has_times or 0.0 < abs(time_s) < _NO_TIME_S
        if self._has_times:
            return time_s
        hz = float(self._capture.get(cv2.CAP_PROP_FPS))
        return (self._count - 1) / (hz if _RATES_HZ[0] <= hz <= _RATES_HZ[1] else _RAW_HZ)

    def _check_complete(self) -> None:
        """Raise SourceError if the container states more than the file has.

        OpenCV's frame count is not reliable: without a stated one it is duration times rate.
        """
        try:
            size = self._path.stat().st_size
            missing, share = missing_bytes(self._path), shown_share(self._path)
        except OSError:
            return
        if missing > _CUT_OFF * (size + missing):
            raise SourceError(
                f"{self._path} is damaged: {missing} of its {size + missing} bytes are missing. "
                f"It gave {self._count} frames"
            )
        stated = (share or 0.0) * float(self._capture.get(cv2.CAP_PROP_FRAME_COUNT))
        if self._count < _COMPLETE * stated:
            raise SourceError(
                f"{self._path} is damaged: it gave {self._count} of {stated:.0f} frames"
            )

    def close(self) -> None:
        """Close the file."""
        if self._capture is not None:
            self._capture.release()
            self._capture = None


def _no_video(path: Path) -> SourceError:
    """Return the error about a file that OpenCV does not open: the system's reason, if any."""
    try:
        path.open("rb").close()
    except OSError as error:
        advice = next_step(error, "Check its permissions")
        return SourceError(f"cannot read {path}: {error.strerror}. {advice}")
    return SourceError(
        f"{path} is not a video that OpenCV can read, or is damaged. Convert it to MP4 or WebM"
    )


class WrongFramesError(InputError):
    """A source gives no frames, and opening it again would not help.

    It is an iterable of something else, or a pipe without a video.
    """


class Frames:
    """Frames of an application.

    Args:
        frames: Arrays (uint8 ``[H, W, 3]`` BGR or ``[H, W]`` grey), or pairs ``(time_s, array)``.
        hz: Frames per second of arrays without a time. None uses the clock at their arrival.
        live: True drops frames that the monitor cannot process in time. False waits for it.

    Raises:
        InputError: ``hz`` is not above 0, ``frames`` cannot be iterated, or ``live`` is neither
            True nor False.
    """

    def __init__(
        self, frames: Iterable[Any], *, hz: float | None = None, live: bool = False
    ) -> None:
        if hz is not None and not (is_number(hz) and hz > 0):
            raise InputError(f"expected frames per second above 0, got {shown(hz)}. Choose another")
        given: object = frames
        iterable = isinstance(given, Iterable) or hasattr(given, "__getitem__")
        if isinstance(given, type) or not iterable:  # list has it too
            raise InputError(f"expected an iterable of frames, got {shown(frames)}. Pass a list")
        if not isinstance(live, bool | np.bool_):
            raise InputError(f"expected live as True or False, got {shown(live)}. Choose one")
        self.live = bool(live)
        self.fresh_images = isinstance(frames, list | tuple | np.ndarray)
        self._frames = frames
        self._hz = hz
        self._count = 0
        self._iterator: Iterator[Any] | None = None

    def open(self) -> None:
        """Start to iterate."""
        self._iterator = iter(self._frames)

    def read(self) -> Frame:
        """Return the next frame.

        Raises:
            StopIteration: The iterable is at its end.
            WrongFramesError: The iterable gives pairs ``(ret, frame)`` of ``cap.read()``.
        """
        assert self._iterator is not None
        item = next(self._iterator)
        self._count += 1
        if isinstance(item, tuple) and len(item) == 2 and not isinstance(item[0], np.ndarray):
            if isinstance(item[0], bool | np.bool_):
                raise WrongFramesError(
                    f"expected frames, or pairs (time_s, frame), got a pair ({item[0]}, frame) as "
                    "cap.read() returns it. Give the frame alone, or the file's path or the "
                    "camera's index as the source"
                )
            return Frame(item[1], item[0])
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
    if isinstance(source, bool | bytes | bytearray | type):
        raise InputError(f"expected a camera index, path, stream or frames, got {shown(source)}")
    if isinstance(source, int):
        return Camera(source)
    if isinstance(source, str | os.PathLike):
        file = file_of(source)
        return Camera(os.fspath(source)) if file is None else VideoFile(file)
    if all(hasattr(source, name) for name in ("live", "open", "read", "close")):
        return cast(FrameSource, source)
    if isinstance(source, Iterable):
        return Frames(source)
    raise InputError(
        "expected a camera index, a path, a stream, a GStreamer pipeline or an iterable of frames, "
        f"got {type(source).__name__}"
    )


def file_of(source: object) -> Path | None:
    """Return the file that a source names, or None.

    A camera, a stream or frames have no file.

    A name of an existing file is that file, also if it looks like an address or a pipeline.

    Raises InputError for an empty name.
    """
    if not isinstance(source, str | os.PathLike):
        return None
    name = os.fspath(source)
    if is_file(name):
        return Path(name)
    if name[:5].lower() == "file:":
        path = re.sub(r"^//(localhost(?=/))?", "", name[5:])
        return Path(path if is_file(path) else unquote(path))
    if "://" in name or " ! " in name or name.startswith("/dev/"):
        return None
    return as_path(name, "the video")
