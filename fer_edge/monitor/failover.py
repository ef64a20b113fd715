"""Failover from an engine that fails or hangs to the next variant."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

from fer_edge.bundle import Bundle
from fer_edge.errors import EngineError, FerEdgeError, TargetError
from fer_edge.inference import is_warm
from fer_edge.monitor.at_exit import join_at_exit, leave_at_exit
from fer_edge.monitor.causes import HealthCause
from fer_edge.monitor.health import HealthMonitor
from fer_edge.predictor import Predictor
from fer_edge.results import Prediction

Result = TypeVar("Result")
_Reply: TypeAlias = "queue.SimpleQueue[tuple[Any, BaseException | None]]"

_LOAD_S = 60.0
"""Seconds to load and warm up a variant. One that takes longer counts as hung."""
WARM_UP = (1, 2)
"""Batch sizes run during warm-up: the driver alone, and with a passenger."""
CLOSE_S = 0.3
"""Seconds that ``close`` waits for another thread's inference or frame. An engine that is still
busy is released later."""
_FIRST_RETRY_S, _LAST_RETRY_S = 1.0, 60.0
"""Shortest and longest pause in seconds before all variants are tried again. It doubles."""


_NEVER_S = 86400.0
"""Seconds of ``watchdog_s`` from which it is off. A call by way of a thread costs 0.1 ms."""


class StoppedError(Exception):
    """The worker was stopped while a job waited or ran."""


class Worker:
    """Thread that can be abandoned.

    It is a daemon: a hung engine does not block the exit.
    """

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[tuple[Callable[[], Any], _Reply] | None] = queue.SimpleQueue()
        self._reply: _Reply | None = None
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="fer_edge-inference", daemon=True)
        self._thread.start()
        join_at_exit(self._thread)

    def is_alive(self) -> bool:
        """Return False once the thread has ended, also that of a job that hung."""
        return self._thread.is_alive()

    def call(self, job: Callable[[], Result], timeout_s: float) -> Result:
        """Run a job and wait for its result.

        One thread at a time may call.

        Raises:
            TimeoutError: The job takes too long. This worker must not be used again.
            StoppedError: ``stop`` was called.
        """
        reply: _Reply = queue.SimpleQueue()  # one per job: a late answer goes nowhere
        self._reply = reply
        self._jobs.put((job, reply))
        if self._stopped:  # checked after the put: the job may be queued behind the end
            raise StoppedError
        try:
            result, error = reply.get(timeout=timeout_s)
        except queue.Empty:
            self._jobs.put(None)
            leave_at_exit(self._thread)
            raise TimeoutError(f"no answer within {timeout_s:g} s") from None
        if error is not None:
            raise error
        return result  # type: ignore[no-any-return]

    def stop(self, last: Callable[[], object] = lambda: None) -> None:
        """Run ``last`` after the current job, and end.

        Safe in a signal handler.

        After ``CLOSE_S`` seconds the caller of that job gets StoppedError instead of a result.
        """
        self._stopped = True
        reply: _Reply = queue.SimpleQueue()
        self._jobs.put((last, reply))
        self._jobs.put(None)
        if threading.current_thread() is self._thread:
            return
        try:
            reply.get(timeout=CLOSE_S)
        except queue.Empty:
            if self._reply is not None:
                self._reply.put((None, StoppedError()))

    def _run(self) -> None:
        while (item := self._jobs.get()) is not None:
            job, reply = item
            try:
                reply.put((job(), None))
            except BaseException as error:  # goes to the caller
                reply.put((None, error))


class FaceClassifier(Protocol):
    """Protocol of a pipeline's classifier: a FailoverPredictor, or a shared engine."""

    @property
    def bundle(self) -> Bundle | None:
        """Bundle that answers now. None if no engine runs."""

    def ready(self) -> bool:
        """Return True if an engine runs."""

    def predict(self, faces: npt.NDArray[np.uint8]) -> list[Prediction] | None:
        """Classify uint8 ``[N, S, S, 3]`` BGR; None if no engine runs."""


class FailoverPredictor:
    """Predictor that switches variants when its engine fails or hangs.

    Args:
        make: Returns a Predictor without the variants in its argument. Raises TargetError if none
            is left.
        health: Gets failovers as the part "model".
        clock: Returns seconds that never run back.
        watchdog_s: Seconds until an inference counts as hung. From a day on, inference runs in the
            caller's thread.
        release: Called with a Predictor that is no longer used. The default closes it.
        requested: Returns the bundle that the application wants. When it becomes another one, all
            variants are tried again. None if only ``swap`` exchanges it.

    Raises:
        FerEdgeError: No variant can be loaded; raised by ``make``.
    """

    def __init__(
        self,
        make: Callable[[Collection[str]], Predictor],
        health: HealthMonitor,
        clock: Callable[[], float],
        watchdog_s: float,
        release: Callable[[Predictor], None] = Predictor.close,
        *,
        requested: Callable[[], Bundle | None] = lambda: None,
    ) -> None:
        self._make = make
        self._release = release
        self._health = health
        self._clock = clock
        self._watchdog_s = watchdog_s
        self._requested, self._wanted = requested, requested()
        self._failed: dict[str, str] = {}
        self._hung: dict[str, Worker] = {}  # by variant; "" for a load that named none yet
        self._closed = False
        self._retry_s, self._retry_at = _FIRST_RETRY_S, 0.0
        self._worker = Worker()
        try:
            self._predictor: Predictor | None = self._load(first=True)
        except BaseException:
            self._worker.stop()
            raise
        self._report()

    @property
    def predictor(self) -> Predictor | None:
        """Predictor in use, or None while no variant runs."""
        return self._predictor

    @property
    def bundle(self) -> Bundle | None:
        """Bundle that answers now, or None while no variant runs."""
        predictor = self._predictor
        return None if predictor is None else predictor.bundle

    def predict(self, faces: npt.NDArray[np.uint8]) -> list[Prediction] | None:
        """Classify faces with the best variant that runs.

        Args:
            faces: uint8 ``[N, S, S, 3]`` BGR of the bundle's input size.

        Returns:
            One Prediction per face. None if no variant runs: health is then "lost", and all
            variants are tried again after a pause.
        """
        while self.ready():
            predictor = self._predictor
            if predictor is None:  # closed meanwhile
                break
            try:
                answers = self._call(partial(predictor.predict_batch, faces))
            except StoppedError:
                break
            except Exception as error:  # whatever an engine raises
                if self.closed:
                    break
                self._drop(predictor, error)
                continue
            self._retry_s = _FIRST_RETRY_S
            return answers
        return None

    def _call(self, job: Callable[[], Result]) -> Result:
        if self._watchdog_s >= _NEVER_S:
            return job()
        return self._worker.call(job, self._watchdog_s)

    @property
    def closed(self) -> bool:
        """True after ``close``, which another thread or a signal handler may call."""
        return self._closed

    def close(self) -> None:
        """Release the engine after the call under way. Nothing is loaded again."""
        if self._closed:
            return
        self._closed = True
        predictor, self._predictor = self._predictor, None
        self._worker.stop(lambda: None if predictor is None else self._release(predictor))

    def swap(self, bundle: Path) -> None:
        """Let another bundle answer from the next call on. Raises as Predictor.swap."""
        predictor = self._predictor
        if predictor is None:
            raise EngineError("no variant runs now, so that nothing can be exchanged. Try again")
        predictor.swap(bundle)
        self._forget_failures()

    def ready(self) -> bool:
        """Return True if a variant runs.

        Tries all variants again if a retry is due.
        """
        self._follow()
        if self._predictor is not None:
            return True
        return not self.closed and self._clock() >= self._retry_at and self._reload()

    def _follow(self) -> None:
        """Try all variants again if the application has exchanged the bundle."""
        wanted = self._requested()
        if wanted is self._wanted:
            return
        self._wanted = wanted
        self._forget_failures()
        predictor = self._predictor
        if predictor is not None and predictor.bundle is wanted:
            return  # it answers already
        self._predictor, self._retry_at = None, self._clock()
        if predictor is not None:
            self._release(predictor)

    def _reload(self) -> bool:
        try:
            predictor = self._load()
        except StoppedError:
            return False
        except (FerEdgeError, TimeoutError) as error:
            if not self.closed:
                self._give_up(error)
            return False
        if self.closed:
            self._release(predictor)
            return False
        self._predictor = predictor
        self._report()
        return True

    def _load(self, *, first: bool = False) -> Predictor:
        """Return the best variant that has not failed, warmed up.

        A shared Predictor that is warm is not warmed up again at first. After a failure it is: its
        engine must prove that it answers.

        A variant whose engine still hangs is not loaded again: each load would take a thread and
        memory that never come back.
        """
        while True:
            if "" in self._hung and self._hung[""].is_alive():
                raise EngineError("the bundle cannot be loaded: the last attempt still hangs")
            made: list[Predictor] = []

            def load(made: list[Predictor] = made) -> None:
                made.append(self._make(tuple(self._failed)))
                if not (first and is_warm(made[0]._loaded, WARM_UP)):
                    made[0].warm_up(WARM_UP)
                if self.closed:
                    self._release(made[0])

            try:
                self._worker.call(load, _LOAD_S)
            except TimeoutError as error:
                self._leave(made[0].variant.name if made else "")
                if not made:
                    raise EngineError(f"the bundle cannot be loaded: {error}") from error
                self._failed[made[0].variant.name] = str(error)
            except EngineError as error:
                if not made:
                    raise
                self._failed[made[0].variant.name] = str(error)
            else:
                return made[0]

    def _drop(self, predictor: Predictor, error: Exception) -> None:
        self._predictor = None
        self._failed[predictor.variant.name] = str(error) or repr(error)
        if isinstance(error, TimeoutError):
            self._leave(predictor.variant.name)
        else:
            self._release(predictor)
        self._retry_at = self._clock()

    def _leave(self, variant: str) -> None:
        """Leave a worker behind, which may wait for its engine for ever."""
        self._hung[variant] = self._worker
        self._worker = Worker()

    def _forget_failures(self) -> None:
        """Let all variants of another bundle be tried."""
        self._failed.clear()
        self._hung.clear()

    def _give_up(self, error: Exception) -> None:
        all_failed = isinstance(error, TargetError) and self._failed
        why = self._failures() if all_failed else error
        retried = "All that do not hang" if self._hung else "All"
        reason = f"no variant runs: {why}. {retried} are tried again soon"
        self._health.report(HealthCause.NO_ENGINE, "lost", reason)
        self._failed = {
            name: reason
            for name, reason in self._failed.items()
            if name in self._hung and self._hung[name].is_alive()
        }
        self._retry_at = self._clock() + self._retry_s
        self._retry_s = min(2 * self._retry_s, _LAST_RETRY_S)

    def _report(self) -> None:
        """Report the variant that took over, if any has failed."""
        assert self._predictor is not None
        if not self._failed:
            self._health.clear("model")
            return
        name = self._predictor.variant.name
        reason = f"{name} answers instead: {self._failures()}"
        self._health.report(HealthCause.FAILOVER, "degraded", reason, name)

    def _failures(self) -> str:
        return "; ".join(f"{name} failed: {reason}" for name, reason in self._failed.items())
