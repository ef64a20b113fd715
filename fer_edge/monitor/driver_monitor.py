"""DriverMonitor: a bundle and a camera, and the states of who sits in front of it."""

from __future__ import annotations

import asyncio
import threading
import time
import weakref
from collections.abc import Callable, Collection
from pathlib import Path
from types import TracebackType

from fer_edge.errors import InputError
from fer_edge.monitor.at_exit import close_at_exit
from fer_edge.monitor.capture import FrameReader
from fer_edge.monitor.detector import Detector, YuNet
from fer_edge.monitor.failover import FailoverPredictor
from fer_edge.monitor.fetch_detector import default_path
from fer_edge.monitor.health import HealthMonitor
from fer_edge.monitor.pipeline import Pipeline
from fer_edge.monitor.settings import Settings
from fer_edge.monitor.sources import open_source
from fer_edge.monitor.state import Event, Health, MonitorState
from fer_edge.predictor import Predictor
from fer_edge.preprocess import Image

_CLOSE_S = 0.3
"""Seconds that ``close`` waits for another thread that is processing a frame."""


class DriverMonitor:
    """Watches a source of frames and gives a MonitorState for each that it answers.

    bundle: a ``NAME.fer`` folder; None is the model that ships with the package.
    source: a camera index, a file's path, ``rtsp://…``, a GStreamer pipeline (with `` ! ``), an
    iterable of frames (uint8 ``[H, W, 3]`` BGR), or a Source such as ``Frames(..., hz=30)``.
    detector: a Detector, or the path of YuNet's file; None is the file that
    ``fer-edge detector fetch`` got.
    settings: thresholds and times. target, precision, device, threads: as for Predictor.
    on_state, on_event, on_health: called with each state, each event, and the health whenever it
    changes, before the state is given; what they raise goes to who iterates.
    clock: seconds that never run back; for tests.

    Iterate it, with ``for`` or ``async for``; each step works in the thread that asks, frames are
    read in another. A camera's frames that nobody asked for are dropped; a file's are all given. A
    camera that fails is reported by ``health`` and opened again; iteration then goes on without
    persons, and ends only with a file. Frames are neither kept nor written nor sent.
    One thread may iterate; ``close`` may be called from any.

    Raises BundleError and TargetError as Predictor does, InputError for a source or detector that
    cannot be one, and SourceError, when iteration starts, for a file that cannot be opened.
    """

    def __init__(
        self,
        bundle: str | Path | None = None,
        source: object = 0,
        *,
        detector: Detector | str | Path | None = None,
        settings: Settings | None = None,
        target: str | None = None,
        precision: str | None = None,
        device: str | None = None,
        threads: int | None = None,
        on_state: Callable[[MonitorState], object] | None = None,
        on_event: Callable[[Event], object] | None = None,
        on_health: Callable[[Health], object] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings or Settings()
        self._callbacks = on_state, on_event, on_health
        self._health = HealthMonitor()
        self._clock = clock
        self._feed = FrameReader(open_source(source), clock)
        faces = _detector(detector)

        def make(exclude: Collection[str]) -> Predictor:
            return Predictor(bundle, target, precision, device, threads=threads, exclude=exclude)

        self._inference = FailoverPredictor(make, self._health, clock, self._settings.watchdog_s)
        assert self._inference.predictor is not None
        self._pipeline = Pipeline(
            self._inference.predictor.bundle,
            faces,
            self._inference,
            self._settings,
            self._health,
            clock,
            live=self._feed.live,
        )
        self._started_s: float | None = None
        self._told_end = False
        self._last_health = Health()
        self._lock = threading.RLock()  # a callback may close
        # A monitor that is dropped without close() lets go of camera and engine.
        self._dropped = weakref.finalize(self, _let_go, self._feed, self._inference)
        self._dropped.atexit = False  # close_at_exit does more
        close_at_exit(self)

    @property
    def predictor(self) -> Predictor | None:
        """What answers now, for ``explain()``; None while nothing runs."""
        return self._inference.predictor

    @property
    def frame(self) -> Image | None:
        """The frame of the last state, uint8 ``[H, W, 3]`` BGR, until the next one; not a copy.
        None where there was none, or none that shows anything."""
        return self._pipeline.frame

    def reset_baseline(self) -> None:
        """Learn the driver's face at rest anew, as after a change that was too quick to be seen."""
        self._pipeline.reset_baseline()

    def __iter__(self) -> DriverMonitor:
        return self

    def __next__(self) -> MonitorState:
        state = self._step()
        if state is None:
            raise StopIteration
        return state

    def __aiter__(self) -> DriverMonitor:
        return self

    async def __anext__(self) -> MonitorState:
        state = await asyncio.to_thread(self._step)
        if state is None:
            raise StopAsyncIteration
        return state

    def __enter__(self) -> DriverMonitor:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    async def __aenter__(self) -> DriverMonitor:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await asyncio.to_thread(self.close)

    def close(self) -> None:
        """Release camera and engine; iteration ends. Closing twice is fine.

        Any thread, callback or signal handler may call it, also while a frame is processed. That
        frame then gets no state. close() returns within a second, also if camera or engine hang.
        """
        self._dropped.detach()
        _let_go(self._feed, self._inference)
        if self._lock.acquire(timeout=_CLOSE_S):
            try:
                self._pipeline.frame = None
            finally:
                self._lock.release()

    def _step(self) -> MonitorState | None:
        with self._lock:
            state = None if self._feed.stopped else self._look()
            if state is None or self._feed.stopped:  # close() may have come in the meantime
                self._pipeline.frame = None
                return None
            on_state, on_event, on_health = self._callbacks
            if on_health and state.health != self._last_health:
                on_health(state.health)
            self._last_health = state.health
            if on_event:
                for event in state.events:
                    on_event(event)
            if on_state:
                on_state(state)
            return state

    def _look(self) -> MonitorState | None:
        if self._started_s is None:
            self._feed.start()
            self._started_s = self._clock()
        arrival = self._feed.take(self._settings.no_frame_s)
        if arrival is not None:
            return self._pipeline.process(arrival)
        if self._feed.stopped or (self._feed.ended and (self._told_end or not self._feed.fault)):
            return None
        self._told_end = self._feed.ended
        return self._pipeline.absent(self._why_absent())

    def _why_absent(self) -> str:
        if self._feed.fault is None:
            return f"no frame came for {self._settings.no_frame_s:g} s"
        if not self._feed.live:
            return f"the source broke off: {self._feed.fault}"
        times = "once" if self._feed.retries == 1 else f"{self._feed.retries} times"
        return f"{self._feed.fault}. Tried {times}, and tried again"


def _let_go(feed: FrameReader, inference: FailoverPredictor) -> None:
    feed.stop()
    inference.close()


def _detector(given: Detector | str | Path | None) -> Detector:
    if given is None:
        if not default_path().is_file():
            raise InputError(
                f"expected a face detector, and {default_path()} is not there. Run: fer-edge "
                "detector fetch; or pass detector=, e.g. YuNet's file or WholeFrame()"
            )
        return YuNet(default_path())
    if isinstance(given, str | Path):
        return YuNet(given)
    if not callable(getattr(given, "detect", None)):
        raise InputError(f"expected a detector with a method 'detect', got {type(given).__name__}")
    return given
