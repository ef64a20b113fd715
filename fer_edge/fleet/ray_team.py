"""Workers on a Ray cluster: an actor each, with its own process.

The process scores; the actor sees how it dies. Crashes, kills and error rows are thus the same as
on one machine.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from fer_edge.cores import usable_cores
from fer_edge.errors import EngineError, FerEdgeError, TargetError
from fer_edge.fleet.clips import Clip
from fer_edge.fleet.crew import News
from fer_edge.fleet.processes import Processes
from fer_edge.fleet.scorer import DriveScorer
from fer_edge.libraries import needed

LOCAL = "local"
"""Address that starts Ray on this machine."""
_PING_S = 10.0
_STEP_S = 0.5
_STARTS = 3
"""Attempts to start Ray on this machine. It gives up after 30 s, which a busy one may need."""


def ray_team(address: str = LOCAL, workers: int | None = None) -> Callable[..., RayTeam]:
    """Return the ``team`` of ``score_drives`` for a Ray cluster.

    Args:
        address: ``local`` starts Ray on this machine; ``auto``, ``host:6379`` or
            ``ray://host:10001`` joins a cluster. Its machines need this version of fer_edge, and
            see clips and output under the same paths.
        workers: Number of workers, for which a local Ray makes room.
    """
    return lambda scorer, out: RayTeam(scorer, out, address, workers)


class RayTeam:
    """Team of Ray actors.

    Args:
        scorer: Pickled into each actor.
        out: Output folder, under the same path on all machines.
        address: As for ``ray_team``.
        workers: As for ``ray_team``.

    Raises:
        MissingDependencyError: ray is not installed.
        TargetError: No cluster is at the address.
    """

    def __init__(
        self, scorer: DriveScorer, out: Path, address: str, workers: int | None = None
    ) -> None:
        self._ray = _import_ray()
        self._started = _connect(self._ray, address, workers)
        self.size = max(int(self._ray.cluster_resources().get("CPU", 1)), 1)
        self._remote = self._ray.remote(num_cpus=1, max_restarts=0, max_concurrency=2)(_Actor)
        self._arguments = self._ray.put(scorer), str(out)
        self._actors: dict[int, Any] = {}
        self._spare: list[Any] = []
        """Actors whose process has died."""
        self._tasks: dict[Any, int] = {}
        self._pings: dict[Any, int] = {}
        self._beats: dict[int, int] = {}
        self._pinged_s = time.monotonic()
        self._count = 0

    def start(self) -> int:
        """Start an actor, or a process in one that lost its own; return its number."""
        self._count += 1
        scorer, out = self._arguments
        actor = self._spare.pop() if self._spare else self._remote.remote(scorer, out)
        self._actors[self._count] = actor
        self._tasks[actor.start.remote()] = self._count
        return self._count

    def give(self, worker: int, clip: Clip) -> None:
        """Let an actor score a clip."""
        self._beats[worker] = 0
        self._tasks[self._actors[worker].score.remote(clip)] = worker

    def wait(self, timeout_s: float) -> Sequence[News]:
        """Return the results and deaths."""
        self._ping()
        handles = [*self._tasks, *self._pings]
        done, _ = self._ray.wait(handles, num_returns=1, timeout=timeout_s)
        news = []
        for handle in done:
            if handle in self._pings:
                news += self._pong(handle)
            else:
                news.append(self._result(handle))
        return news

    def kill(self, worker: int) -> None:
        """End an actor and its process."""
        actor = self._actors.pop(worker)
        self._drop(worker)
        self._ray.kill(actor)

    def close(self) -> None:
        """End all actors, and a Ray that was started for them."""
        for worker in list(self._actors):
            self.kill(worker)
        for actor in self._spare:
            self._ray.kill(actor)
        if self._started:
            self._ray.shutdown()

    def _result(self, handle: Any) -> News:
        worker = self._tasks.pop(handle)
        try:
            kind, value, outside = self._ray.get(handle)
        except self._ray.exceptions.RayTaskError as error:
            cause = error.cause
            raise cause if isinstance(cause, FerEdgeError) else EngineError(str(cause)) from error
        except self._ray.exceptions.RayError as error:  # the actor or its machine is gone
            self._actors.pop(worker)
            self._drop(worker)
            return News(worker, "dead", f"the actor is gone: {type(error).__name__}", outside=True)
        if kind == "broken":
            raise value
        if kind == "dead":
            self._spare.append(self._actors.pop(worker))
            self._drop(worker)
        return News(worker, kind, value, outside)

    def _ping(self) -> None:
        if time.monotonic() - self._pinged_s < _PING_S:
            return
        self._pinged_s = time.monotonic()
        waiting = set(self._pings.values())
        for worker in set(self._tasks.values()) - waiting:
            self._pings[self._actors[worker].beats.remote()] = worker

    def _pong(self, handle: Any) -> list[News]:
        worker = self._pings.pop(handle)
        try:
            beats = self._ray.get(handle)
        except self._ray.exceptions.RayError:  # its task tells
            return []
        before, self._beats[worker] = self._beats.get(worker, 0), beats
        return [News(worker, "beat")] if beats > before else []

    def _drop(self, worker: int) -> None:
        for handles in (self._tasks, self._pings):
            for handle in [handle for handle, number in handles.items() if number == worker]:
                del handles[handle]


class _Actor:
    """One process, and what it reports."""

    def __init__(self, scorer: DriveScorer, out: str) -> None:
        self._team = Processes(scorer, Path(out))
        self._lock = threading.Lock()
        self._worker = 0
        self._beats = 0

    def start(self) -> tuple[str, Any, bool]:
        with self._lock:
            self._worker = self._team.start()
            return self._next("ready")

    def score(self, clip: Clip) -> tuple[str, Any, bool]:
        with self._lock:
            self._beats = 0
            self._team.give(self._worker, clip)
            return self._next("done")

    def beats(self) -> int:
        return self._beats

    def _next(self, kind: str) -> tuple[str, Any, bool]:
        while True:
            for news in self._team.wait(_STEP_S):
                if news.kind in (kind, "dead"):
                    return news.kind, news.value, news.outside
                self._beats += 1


def _import_ray() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray reports usage unless told not to
    with needed("ray", "fleet"):
        import ray
        import ray.exceptions
    return ray


def _connect(ray: Any, address: str, workers: int | None) -> bool:
    """Join or start a cluster; return True if it is to be shut down."""
    if ray.is_initialized():
        return False
    try:
        if address == LOCAL:
            _start(ray, max(workers or 0, usable_cores()))
        else:
            ray.init(address=address, **_QUIET)
    except Exception as error:  # Ray raises many kinds
        if address == LOCAL:
            raise TargetError(
                f"Ray does not start on this machine: {error} Run again, or without --ray"
            ) from error
        raise TargetError(
            f"no Ray cluster at {address}: {error}. Start one with: ray start --head"
        ) from error
    return True


_QUIET = {"log_to_driver": False, "configure_logging": False}


def _start(ray: Any, cpus: int) -> None:
    for left in reversed(range(_STARTS)):
        try:
            ray.init(include_dashboard=False, num_cpus=cpus, **_QUIET)
        except Exception:
            ray.shutdown()
            if not left:
                raise
        else:
            return
