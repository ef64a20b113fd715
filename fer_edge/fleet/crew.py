"""Work of a crew: clips to workers, and what happens when a worker dies."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from fer_edge.errors import EngineError
from fer_edge.fleet.clips import Clip
from fer_edge.fleet.scorer import ClipReport

MOST_DEATHS = 2
"""Deaths of workers on one clip that lead to an error row."""
MOST_KILLS = 10
"""Deaths by SIGKILL on one clip that memory does not explain. Somebody else may send them."""
STALL_S = 300.0
"""Seconds without a frame until a worker counts as hung and is killed."""
_MOST_STARTS = 3
"""Workers that may die in a row before they can take a clip."""
_WAIT_S = 1.0


@dataclass(frozen=True)
class News:
    """Message about a worker.

    Attributes:
        worker: Number of the worker.
        kind: "ready" (value: its identity), "beat", "done" (value: ClipReport) or "dead".
        value: Depends on ``kind``; for "dead" a sentence.
        outside: True for a death that somebody else may have caused, such as ``kill -9``.
    """

    worker: int
    kind: Literal["ready", "beat", "done", "dead"]
    value: Any = None
    outside: bool = False


class Team(Protocol):
    """Protocol of the processes of one machine, or of the actors of a cluster.

    Attributes:
        size: Number of workers by default.
    """

    size: int

    def start(self) -> int:
        """Start a worker and return its number."""

    def give(self, worker: int, clip: Clip) -> None:
        """Let a ready worker score a clip."""

    def wait(self, timeout_s: float) -> Sequence[News]:
        """Return the news, at the latest after ``timeout_s`` seconds.

        Raises FerEdgeError if a worker reports that bundle or detector cannot be loaded.
        """

    def kill(self, worker: int) -> None:
        """End a worker at once. No news of it follows."""

    def close(self) -> None:
        """End all workers."""


class Crew:
    """Clips that wait, workers that score them, and deaths by clip.

    Args:
        team: The workers.
        clips: The clips; the longest are scored first.
        size: Number of workers.
        check: Called with each worker's identity before it gets a clip. Returns the reason why
            the worker cannot be used, or None.
        done: Called with each clip and its report.
        failed: Called with a clip that killed its workers, and the sentence about it. Returns the
            report; it must write the error row.
        tick: Called after each message, at least once a second.
    """

    def __init__(
        self,
        team: Team,
        clips: Sequence[Clip],
        size: int,
        *,
        check: Callable[[dict[str, Any]], str | None],
        done: Callable[[Clip, ClipReport], None],
        failed: Callable[[Clip, str], ClipReport],
        tick: Callable[[], None] = lambda: None,
    ) -> None:
        self._team = team
        self._waiting = deque(sorted(clips, key=lambda clip: (-clip.size, clip.key)))
        self._size = size
        self._check, self._done, self._failed, self._tick = check, done, failed, tick
        self._busy: dict[int, Clip | None] = {}
        """Clip of each worker; None while it starts or waits."""
        self._beat_s: dict[int, float] = {}
        self._deaths: Counter[str] = Counter()
        self._kills: Counter[str] = Counter()
        self._failed_starts = 0
        self._ready: set[int] = set()

    def run(self) -> None:
        """Score all clips.

        Raises:
            FerEdgeError: Workers cannot start.
            OSError: The output cannot be written.
        """
        try:
            while self._waiting or any(self._busy.values()):
                self._hire()
                for news in self._team.wait(_WAIT_S):
                    self._hear(news)
                self._check_stalls()
                self._tick()
        finally:
            self._team.close()

    def _hire(self) -> None:
        needed = min(self._size, len(self._waiting) + sum(map(bool, self._busy.values())))
        while len(self._busy) < needed:
            worker = self._team.start()
            self._busy[worker], self._beat_s[worker] = None, time.monotonic()
        for worker in sorted(self._ready):
            if self._waiting:
                self._ready.discard(worker)
                self._busy[worker] = clip = self._waiting.popleft()
                self._beat_s[worker] = time.monotonic()
                self._team.give(worker, clip)

    def _hear(self, news: News) -> None:
        if news.worker not in self._busy:
            return
        self._beat_s[news.worker] = time.monotonic()
        clip = self._busy[news.worker]
        if news.kind == "ready":
            reason = self._check(news.value)
            if reason is not None:
                self._team.kill(news.worker)
                self._bury(news.worker, reason, outside=False)
                return
            self._failed_starts = 0
            self._ready.add(news.worker)
        elif news.kind == "done" and clip is not None:
            self._busy[news.worker] = None
            if news.value.retry:  # the engine of this worker is broken
                self._dismiss(news.worker)
                self._blame(clip, news.value.error, outside=False)
            else:
                self._ready.add(news.worker)
                self._done(clip, news.value)
        elif news.kind == "dead":
            self._bury(news.worker, str(news.value), outside=news.outside)

    def _check_stalls(self) -> None:
        # A cluster may have no room yet for a worker that starts, while others work.
        works = any(self._busy.values())
        for worker, clip in list(self._busy.items()):
            if clip is None and (works or worker in self._ready):
                continue
            if time.monotonic() - self._beat_s[worker] > STALL_S:
                self._team.kill(worker)
                self._bury(worker, f"no frame came for {STALL_S:.0f} s", outside=False)

    def _dismiss(self, worker: int) -> None:
        self._team.kill(worker)
        self._forget(worker)

    def _forget(self, worker: int) -> Clip | None:
        self._ready.discard(worker)
        self._beat_s.pop(worker, None)
        return self._busy.pop(worker, None)

    def _bury(self, worker: int, reason: str, *, outside: bool) -> None:
        was_ready = worker in self._ready
        clip = self._forget(worker)
        if clip is not None:
            self._blame(clip, reason, outside=outside)
        elif not was_ready and not outside:
            self._failed_starts += 1
            if self._failed_starts >= _MOST_STARTS:
                raise EngineError(
                    f"{self._failed_starts} workers failed as they started: {reason}. Check the "
                    "bundle with: fer-edge inspect BUNDLE"
                )

    def _blame(self, clip: Clip, reason: str, *, outside: bool) -> None:
        """Try a clip again at the end, or give it up."""
        count, most = (self._kills, MOST_KILLS) if outside else (self._deaths, MOST_DEATHS)
        count[clip.key] += 1
        if count[clip.key] < most:
            self._waiting.append(clip)
            return
        times = "twice" if most == 2 else f"{most} times"
        self._done(clip, self._failed(clip, f"workers failed {times} on this clip: {reason}"))
