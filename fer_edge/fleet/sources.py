"""Sources of recorded clips, on a clock that does not depend on the machine."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

from fer_edge.errors import InputError
from fer_edge.fleet import remote
from fer_edge.fleet.clips import Clip
from fer_edge.fleet.recordings import RecordingSource, is_recording
from fer_edge.monitor.sources import Frame, FrameSource, VideoFile
from fer_edge.preprocess import as_bgr


class _Turns:
    """Reads of a source by monitors that take turns: what one of them reads, all get."""

    def __init__(self, source: FrameSource) -> None:
        self._source = source
        self._is_open = False
        self._number = 0
        self._last: Frame | Exception | None = None

    def open(self) -> None:
        if not self._is_open:
            self._source.open()
            self._is_open = True

    def read(self, number: int) -> Frame | None:
        """Return the outcome of a read, from 1: the last one, or the next."""
        if number > self._number:
            self._number, self._last = number, None
            try:
                self._last = _coloured(self._source.read())
            except Exception as error:  # each monitor gets the end, or the fault
                self._last = error
        if isinstance(self._last, Exception):
            raise self._last
        return self._last

    def close(self) -> None:
        self._is_open, self._last = False, None
        self._source.close()


def _coloured(frame: Frame | None) -> Frame | None:
    """Return a grey frame in BGR: one array for all monitors, which share its faces."""
    if frame is None or getattr(frame.image, "ndim", 0) != 2:
        return frame
    with suppress(InputError):  # each monitor reports it
        return replace(frame, image=as_bgr(frame.image, "grey"))
    return frame


class RecordedSource:
    """Source whose frames arrive without delay on its clock.

    The monitor compares a source's own time with the arrivals. On this clock all frames arrive at
    the same moment, so that a slow machine gives the states of a fast one. Stages are measured in
    true time.

    Frames are read in the thread that scores: a worker uses one core, and the others have their
    own.

    Args:
        turns: Reads of a source that gives each frame a time of its own.
    """

    live = False
    reads_ahead = False

    def __init__(self, turns: _Turns) -> None:
        self._turns = turns
        self._count = 0
        self._arrives = False

    def open(self) -> None:
        """Open the source."""
        self._turns.open()

    def read(self) -> Frame | None:
        """Return the next frame."""
        self._count += 1
        frame = self._turns.read(self._count)
        self._arrives = True
        return frame

    def close(self) -> None:
        """Close the source, for all monitors."""
        self._turns.close()

    def clock(self) -> float:
        """Return 0 for a frame's arrival, right after ``read``; else system seconds."""
        arrives, self._arrives = self._arrives, False
        return 0.0 if arrives else time.monotonic()


@contextmanager
def opened(clip: Clip, beat: Callable[[int], object]) -> Iterator[Callable[[], RecordedSource]]:
    """Yield a function that makes a source of the clip, not open yet.

    Monitors that take turns, each with a source of its own, share the reads.

    Args:
        clip: The clip.
        beat: As for ``local_copy``.

    Raises:
        SourceError: The file at an address cannot be read.
        InputError: The clip has no frames that can be read.
    """
    if not remote.is_address(clip.path):
        yield partial(RecordedSource, _Turns(_source(Path(clip.path), clip)))
        return
    with remote.local_copy(clip.path, beat) as copy:
        yield partial(RecordedSource, _Turns(_source(copy, clip)))


def _source(path: Path, clip: Clip) -> FrameSource:
    if is_recording(path):
        return RecordingSource(path, clip.camera)
    # One core for each worker; and a damaged clip may give other frames to several threads.
    return VideoFile(path, threads=1)
