"""Worker threads for jobs on hostile input, each with a time limit."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, TypeVar

from fer_edge.service.refusals import RefusedError

Result = TypeVar("Result")
_Job = tuple[Callable[[], Any], Callable[[Any, BaseException | None], None]]


_GRACE_S = 1.0
"""Seconds that an abandoned job may run until it counts as overdue. Clients leave all the time, and
most jobs end within milliseconds."""


class Workers:
    """Threads that run jobs, one each.

    Python cannot stop a thread. A job that outlives its limit keeps its thread, which counts as
    taken until the job ends. Once all threads are taken by overdue jobs, new jobs and those that
    wait are refused at once. The threads are daemons, so that none delays the end of the process.
    """

    def __init__(self, count: int, name: str) -> None:
        """Prepare ``count`` threads called ``name``, which start with the first job."""
        self._free = self._count = count
        self._name, self._started = name, False
        self._overdue = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()

    @property
    def busy(self) -> bool:
        """True while a job runs, even if no request waits."""
        return self._free < self._count

    async def run(self, job: Callable[[], Result], limit_s: float | None = None) -> Result:
        """Return what ``job`` returns.

        Args:
            job: called in a thread.
            limit_s: seconds for the job, from when a thread takes it; None means no limit.

        Raises:
            RefusedError: 503 if overdue jobs have taken all threads; 504 if this job is overdue.
        """
        await self._take()
        self._start()
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Result] = loop.create_future()
        # Only the loop's thread changes the counts.
        ended = overdue = False

        def mark_overdue() -> None:
            nonlocal overdue
            if not ended:
                overdue = True
                self._overdue += 1
                self._refuse_if_stuck()

        def end(result: Result, error: BaseException | None) -> None:
            nonlocal ended
            ended = True
            self._overdue -= overdue
            self._release()
            if answer.done():  # its caller has given up
                return
            if error is None:
                answer.set_result(result)
            else:
                answer.set_exception(error)

        def report(result: Result, error: BaseException | None) -> None:
            with suppress(RuntimeError):  # the loop is closed: the process ends
                loop.call_soon_threadsafe(end, result, error)

        self._jobs.put((job, report))
        try:
            async with asyncio.timeout(limit_s):
                return await answer
        except TimeoutError as error:
            mark_overdue()
            raise RefusedError(
                504,
                f"the image took longer than {limit_s:g} seconds. Send a smaller or simpler one",
            ) from error
        except asyncio.CancelledError:
            loop.call_later(_GRACE_S, mark_overdue)
            raise

    def _start(self) -> None:
        """Start the threads, also after ``close``: an application may be started again."""
        if not self._started:
            self._started = True
            for _ in range(self._count):
                threading.Thread(target=self._work, name=self._name, daemon=True).start()

    async def _take(self) -> None:
        """Wait for a free thread."""
        if self._overdue >= self._count:
            raise _stuck()
        if self._free and not self._waiting:
            self._free -= 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self._release()  # the thread came together with the cancellation
            raise

    def _release(self) -> None:
        """Give a thread to the next job that waits."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1

    def _refuse_if_stuck(self) -> None:
        while self._overdue >= self._count and self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_exception(_stuck())

    def _work(self) -> None:
        while (item := self._jobs.get()) is not None:
            job, report = item
            try:
                report(job(), None)
            except BaseException as error:  # the caller gets it
                report(None, error)
            del item, job, report  # an idle thread keeps no image

    def close(self) -> None:
        """End the idle threads; busy ones end with their jobs."""
        if self._started:
            self._started = False
            for _ in range(self._count):
                self._jobs.put(None)


def _stuck() -> RefusedError:
    return RefusedError(
        503,
        "every worker is still busy with an image that took too long. Try again",
        retry_after_s=5,
    )
