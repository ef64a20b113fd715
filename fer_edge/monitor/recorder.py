"""Recorders of a session: a video, and a log of events."""

from __future__ import annotations

import json
import os
import stat
import tempfile
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import cv2
import numpy as np

from fer_edge.atomic import check_place
from fer_edge.errors import InputError, next_step
from fer_edge.images.decoder_warnings import with_warnings
from fer_edge.monitor.opencv_names import opencv_name
from fer_edge.monitor.state import Event
from fer_edge.monitor.typed_fields import is_number
from fer_edge.opencv_log import quiet_opencv, silence_ffmpeg
from fer_edge.paths import absolute, as_path, check_possible
from fer_edge.preprocess import Image
from fer_edge.shown import shown

CODECS: dict[str, tuple[str, str]] = {
    ".mp4": ("mp4v", "MPEG-4 Part 2: VLC, mpv, ffplay and most desktop players, no web browser"),
    ".webm": ("VP80", "VP8: web browsers, VLC, mpv; about 15 times slower to write than .mp4"),
}
"""FourCC and players by suffix. OpenCV's wheels have no H.264 encoder (its licence); their VP9
encoder takes 0.13 s for a frame of 640x360."""
_LEAST_HZ = {".mp4": 0.0, ".webm": 0.1}
"""Smallest frame rate of a video by suffix, in Hz. A WebM whose frames last 20 s has no length."""
_MOST_HZ = 240.0
"""Largest frame rate of a video, in Hz."""
_MOST_GAP_S = 10.0
"""Longest gap in seconds that repeated frames fill. A clock that jumps must not fill the disk."""
_MOST_STEM = 40
"""Largest number of characters of a video's name in the name of its temporary file."""
_MOST_TIME_S = 1e12
"""Latest time of a frame, in seconds. Clocks count from 1970 at most."""


class VideoRecorder:
    """Writes frames to a video of constant rate, each in time.

    The video goes to a temporary file beside ``path``. ``close`` moves it into place. If an
    exception ends the ``with`` block, nothing is left.

    Args:
        path: File that ends in .mp4 or .webm.
        hz: Frames per second of the video.

    Raises:
        InputError: The suffix or rate is not supported, or the file cannot be written.
    """

    def __init__(self, path: str | Path, hz: float) -> None:
        self.path = as_path(path, "the video")
        opencv_name(absolute(self.path))
        if self.path.suffix.lower() not in CODECS:
            raise InputError(f"expected a video called .mp4 or .webm, got {self.path}")
        least = _LEAST_HZ[self.path.suffix.lower()]
        if not (is_number(hz) and hz > 0 and least <= hz <= _MOST_HZ):
            raise InputError(
                f"expected {least:g} to {_MOST_HZ:g} frames per second for {self.path.suffix}, got "
                f"{shown(hz)}. Choose another"
            )
        self.frames = 0
        """Frames written so far, repetitions included."""
        self._hz = hz
        self._closed = False
        self._first_s: float | None = None
        self._size = (0, 0)
        self._writer: Any = None
        try:
            check_place(self.path)
            with suppress(FileNotFoundError):
                self.path.lstat()  # fails for a name that is too long
            handle, name = tempfile.mkstemp(
                prefix=f".{self.path.stem[:_MOST_STEM]}.",
                suffix=self.path.suffix,
                dir=self.path.parent,
            )
        except OSError as error:
            raise _unwritable(self.path, error) from error
        os.close(handle)
        self._temporary = Path(name)

    @property
    def codec(self) -> str:
        """Name of the codec, and programs that play it."""
        return CODECS[self.path.suffix.lower()][1]

    def write(self, frame: Image, time_s: float) -> None:
        """Add a frame.

        The frame is repeated to fill the gap since the last one. It is dropped if the video is
        ahead of ``time_s``.

        Args:
            frame: uint8 ``[H, W, 3]`` BGR. The first frame sets the size of the video; others are
                resized to it.
            time_s: Stream time of the frame, in seconds.

        Raises:
            InputError: The frame is no picture or has no time, OpenCV cannot write videos of its
                size, or the video is closed.
        """
        if self._closed:
            raise InputError(f"the video {self.path} is closed. Make a new VideoRecorder")
        _check_frame(frame, time_s)
        if self._writer is None:
            self._open(frame)
        if self._first_s is None:
            self._first_s = time_s
        ahead = round((time_s - self._first_s) * self._hz) + 1 - self.frames
        most = max(round(_MOST_GAP_S * self._hz), 1)
        if ahead > most:
            self._first_s += (ahead - most) / self._hz
            ahead = most
        picture = self._fit(frame)
        for _ in range(ahead):
            self._writer.write(picture)
            self.frames += 1

    def close(self) -> None:
        """Finish the video and move it into place.

        Without a frame there is no file. May be called twice.

        Raises:
            InputError: The file cannot be written, or its frames cannot be read back.
        """
        self._closed = True
        if self._writer is None:
            self._temporary.unlink(missing_ok=True)
            return
        self._writer.release()
        self._writer = None
        try:
            self._check()
            self._temporary.chmod(0o644)
            self._temporary.replace(self.path)
        except OSError as error:
            raise _unwritable(self.path, error) from error
        finally:
            self._temporary.unlink(missing_ok=True)

    def __enter__(self) -> VideoRecorder:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.close()
            return
        self._closed = True
        if self._writer is not None:
            self._writer.release()
            self._writer = None
        self._temporary.unlink(missing_ok=True)

    def _open(self, frame: Image) -> None:
        height, width = frame.shape[:2]
        self._size = width + width % 2, height + height % 2  # the codecs halve colour
        code = cv2.VideoWriter.fourcc(*CODECS[self.path.suffix.lower()][0])
        silence_ffmpeg()

        def begin() -> None:  # may run twice
            if self._writer is not None:
                self._writer.release()
            self._writer = cv2.VideoWriter(
                str(self._temporary), cv2.CAP_FFMPEG, code, self._hz, self._size
            )

        with quiet_opencv():
            with_warnings(begin)  # OpenCV prints that it does not know VP8 in WebM, and writes it
        if not self._writer.isOpened():
            self._writer = None
            raise InputError(
                f"OpenCV {cv2.__version__} cannot write {self.path.suffix} videos of "
                f"{width}x{height}. Try the other of {' and '.join(CODECS)}"
            )

    def _fit(self, frame: Image) -> Image:
        height, width = frame.shape[:2]
        wide, high = self._size
        if (width + width % 2, height + height % 2) != self._size:
            return np.asarray(cv2.resize(frame, self._size), np.uint8)
        if (width, height) == self._size:
            return frame
        border = cv2.BORDER_REPLICATE
        padded = cv2.copyMakeBorder(frame, 0, high - height, 0, wide - width, border)
        return np.asarray(padded, np.uint8)

    def _check(self) -> None:
        """Count readable frames, because OpenCV does not report a full disk."""
        with quiet_opencv():
            capture = cv2.VideoCapture(str(self._temporary), cv2.CAP_FFMPEG)
        try:
            readable = capture.get(cv2.CAP_PROP_FRAME_COUNT) if capture.isOpened() else 0
        finally:
            capture.release()
        if abs(readable - self.frames) > 1:
            raise InputError(
                f"cannot write {self.path}: only {max(readable, 0):.0f} of {self.frames} frames "
                "can be read back. The disk may be full: free some space and try again"
            )


class EventLog:
    """Log of events, one line of JSON (``Event.as_dict``) each.

    Each line is written at once and unbuffered, so that the log is complete after a crash.
    ``begin``, or the first event, empties an existing file. Without either, an existing file stays
    as it is, and a new one is removed.

    Args:
        path: The file.

    Raises:
        InputError: The file cannot be written.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = absolute(as_path(path, "the log"))
        self.lines = 0
        """Lines written so far."""
        self._closed = False
        self._begun, self._is_new = False, not os.path.lexists(self.path)
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        try:
            check_possible(self.path)
            self._handle = os.open(self.path, flags, 0o644)
        except OSError as error:
            raise _unwritable(self.path, error) from error

    def begin(self) -> None:
        """Remove the events of an earlier run.

        Raises InputError if the file cannot be written or is closed.
        """
        if self._closed:
            raise InputError(f"the log {self.path} is closed. Make a new EventLog")
        if self._begun:
            return
        try:
            if stat.S_ISREG(os.fstat(self._handle).st_mode):
                os.ftruncate(self._handle, 0)
        except OSError as error:
            raise _unwritable(self.path, error) from error
        self._begun = True

    def write(self, event: Event) -> None:
        """Append one event. Raises InputError if the file cannot be written or is closed."""
        self.begin()
        line = (json.dumps(event.as_dict(), allow_nan=False) + "\n").encode()
        try:
            written = os.write(self._handle, line)
        except OSError as error:
            raise _unwritable(self.path, error) from error
        if written < len(line):
            self._remove_last(written)
            raise InputError(f"cannot write {self.path}: the disk is full. Free some space")
        self.lines += 1

    def _remove_last(self, count: int) -> None:
        """Remove half a line, to which the next one would be glued."""
        with suppress(OSError):  # a pipe keeps it
            os.ftruncate(self._handle, os.fstat(self._handle).st_size - count)

    def close(self) -> None:
        """Close the file. May be called twice."""
        if self._closed:
            return
        self._closed = True
        os.close(self._handle)
        if self._is_new and not self._begun:
            self.path.unlink(missing_ok=True)

    def __enter__(self) -> EventLog:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _check_frame(frame: object, time_s: object) -> None:
    if not (is_number(time_s) and abs(time_s) <= _MOST_TIME_S):
        raise InputError(
            f"expected the time of the frame in seconds, got {shown(time_s)}. Give the state's "
            "time_s"
        )
    if (
        not isinstance(frame, np.ndarray)
        or (frame.dtype, frame.ndim) != (np.uint8, 3)
        or frame.shape[2] != 3
        or not frame.size
    ):
        shape = getattr(frame, "shape", "")
        raise InputError(
            f"expected a frame uint8 [H, W, 3] BGR, got {type(frame).__name__} {shape}. Draw on a "
            "frame of the camera"
        )


def _unwritable(path: Path, error: OSError) -> InputError:
    advice = next_step(error, "Choose another file, or free space")
    return InputError(f"cannot write {path}: {error.strerror}. {advice}")
