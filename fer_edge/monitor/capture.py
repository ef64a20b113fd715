"""Frame reader: a thread that reads a source and reopens failed cameras."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fer_edge.errors import FerEdgeError
from fer_edge.monitor.at_exit import join_at_exit
from fer_edge.monitor.sources import Frame, FrameSource, WrongFramesError

_log = logging.getLogger(__name__)

_READ_AHEAD = 4
"""Frames of a file that are decoded ahead. More would only take memory."""
_STOP_S = 0.3
"""Seconds that ``stop`` waits for a read under way. A camera of 5 Hz needs 0.2 s."""
_FIRST_RETRY_S, _LAST_RETRY_S = 0.25, 8.0
"""Shortest and longest pause in seconds before a failed camera is opened again. It doubles."""


@dataclass(frozen=True, slots=True)
class CapturedFrame:
    """A frame with its number and times.

    Attributes:
        image: The frame as it came from the source.
        index: Number of the frame, from 0, dropped frames included.
        arrived_s: Arrival on the monitor's clock, in seconds.
        own_time_s: The source's own time in seconds, or None.
        reopened: True for the first frame after the source was opened.
    """

    image: Any
    index: int
    arrived_s: float
    own_time_s: float | None
    reopened: bool


class FrameReader:
    """Reader of a source in a thread of its own.

    Decoding costs the caller no time.

    A live source keeps the newest frame and drops older ones. Any other source drops nothing:
    reading waits. A source with the attribute ``reads_ahead = False`` is read by ``take``, in the
    caller's thread.

    A frame that is read ahead is copied, because its source may write the next one to the same
    memory. A source with the attribute ``fresh_images = True`` does not.

    Args:
        source: The source, not open yet.
        clock: Returns seconds that never run back.
    """

    def __init__(self, source: FrameSource, clock: Callable[[], float]) -> None:
        self.live = source.live
        self.fault: str | None = None
        """Sentence about the source's fault, or None."""
        self.retries = 0
        """Failed attempts to read or open the source since its last frame."""
        self._source = source
        self._reads_ahead = source.live or getattr(source, "reads_ahead", True)
        self._copies = self._reads_ahead and not getattr(source, "fresh_images", False)
        self._clock = clock
        self._frames: deque[CapturedFrame] = deque(maxlen=1 if source.live else None)
        self._changed = threading.Condition()
        self._stopped = False
        self._ended = False
        self._error: WrongFramesError | None = None
        self._is_open = False
        self._reopened = False
        self._count = 0
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread.

        Raises:
            SourceError: A file cannot be opened. Cameras are tried again instead.
        """
        if not self.live:
            self._open()
        if not self._reads_ahead:
            return
        self._thread = threading.Thread(target=self._run, name="fer_edge-reader", daemon=True)
        self._thread.start()
        join_at_exit(self._thread)

    @property
    def stopped(self) -> bool:
        """True after ``stop``."""
        return self._stopped

    def stop(self) -> None:
        """Stop reading, from any thread or signal handler.

        A hanging camera is left behind.
        """
        self._stopped = True
        with self._changed:
            self._changed.notify_all()
        if not self._reads_ahead:
            self._close()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(_STOP_S)

    def take(self, timeout_s: float) -> CapturedFrame | None:
        """Return the next frame; None after ``timeout_s`` seconds or at the end.

        Raises:
            InputError: The source gives something else than frames.
        """
        while not (self._reads_ahead or self._frames or self._ended or self._stopped):
            self.pump()
        with self._changed:
            self._changed.wait_for(lambda: self._frames or self._ended or self._stopped, timeout_s)
            arrival = self._frames.popleft() if self._frames else None
            self._changed.notify_all()
            if arrival is None and self._error is not None:
                raise self._error
            return arrival

    @property
    def ended(self) -> bool:
        """True once the source has ended and all frames are taken."""
        with self._changed:
            return self._ended and not self._frames

    def pump(self) -> float:
        """Run one step: open the source if needed, and read one frame.

        Returns:
            Seconds to wait until the next step.
        """
        try:
            if not self._is_open:
                self._open()
            frame, arrived_s = self._read(), self._clock()
        except StopIteration:
            self._end()
            return 0.0
        except WrongFramesError as error:
            self._error = error
            self._end()
            return 0.0
        except BaseException as error:  # a camera's driver, or the application's own iterator
            if not isinstance(error, Exception) and self._thread is None:
                raise  # Ctrl-C, or the end of the program, in the caller's thread
            return self._fail(str(error) if isinstance(error, FerEdgeError) else repr(error))
        if frame is None:
            return self._fail("the camera gave no frame; it may be unplugged")
        arrival = CapturedFrame(frame.image, self._count, arrived_s, frame.time_s, self._reopened)
        self._count += 1
        self._reopened = False
        if self.fault is not None:
            _log.warning("the source gives frames again after %d attempts", self.retries)
        self.fault, self.retries = None, 0
        with self._changed:
            self._changed.wait_for(
                lambda: self.live or len(self._frames) < _READ_AHEAD or self._stopped
            )
            self._frames.append(arrival)
            self._changed.notify_all()
        return 0.0

    def _read(self) -> Frame | None:
        frame: object = self._source.read()
        if frame is None:
            return None
        if not isinstance(frame, Frame):
            raise WrongFramesError(
                f"expected a Frame, got {type(frame).__name__}. Let read() of the source return "
                "Frame(image)"
            )
        if self._copies and isinstance(frame.image, np.ndarray):
            return replace(frame, image=frame.image.copy())
        return frame

    def _run(self) -> None:
        while not self._stopped and not self._ended:
            if (wait_s := self.pump()) > 0:
                with self._changed:
                    self._changed.wait_for(lambda: self._stopped, wait_s)
        self._close()

    def _close(self) -> None:
        try:
            self._source.close()
        except Exception as error:  # an application's source; no caller is left to get it
            _log.warning("closing the source failed: %r", error)

    def _open(self) -> None:
        self._source.open()
        self._is_open = self._reopened = True

    def _fail(self, fault: str) -> float:
        self.fault = fault
        if not self.live:
            self._end()
            return 0.0
        self.retries += 1
        if self._is_open:
            self._is_open = False
            try:
                self._source.close()
            except Exception as error:  # the source has failed already
                self.fault = f"{fault}; closing it failed too: {error!r}"
        return float(min(_FIRST_RETRY_S * 2 ** min(self.retries - 1, 16), _LAST_RETRY_S))

    def _end(self) -> None:
        with self._changed:
            self._ended = True
            self._changed.notify_all()
