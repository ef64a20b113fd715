"""Requests that wait at the same time become one run of the engine."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from fer_edge.backends.base import Batch
from fer_edge.results import Prediction
from fer_edge.service.metrics import Metrics


class Batcher:
    """Runs ``predict`` in one thread, on all faces that have come while it was busy.

    predict: uint8 ``[N, S, S, 3]`` BGR to one Prediction per face. most: faces in one run; those of
    one call stay together, also where they are more. Nobody waits for company: an idle engine
    starts at once, and under load the batch fills while the engine is busy.
    """

    def __init__(
        self, predict: Callable[[Batch], list[Prediction]], most: int, metrics: Metrics
    ) -> None:
        self._predict, self._most, self._metrics = predict, most, metrics
        self._waiting: deque[tuple[Batch, asyncio.Future[list[Prediction]]]] = deque()
        self._thread = ThreadPoolExecutor(1, "fer-edge-engine")
        self._running: asyncio.Task[None] | None = None

    async def __call__(self, faces: Batch) -> list[Prediction]:
        """One Prediction per face. Raises what ``predict`` raised."""
        if not len(faces):
            return []
        answer: asyncio.Future[list[Prediction]] = asyncio.get_running_loop().create_future()
        self._waiting.append((faces, answer))
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._run())
        return await answer

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while calls := self._next():
            batch = np.concatenate([faces for faces, _ in calls])
            try:
                rows = await loop.run_in_executor(self._thread, self._timed, batch)
            except Exception as error:
                for _, answer in calls:
                    if not answer.done():
                        answer.set_exception(error)
                continue
            done = 0
            for faces, answer in calls:
                if not answer.done():  # its caller may have given up
                    answer.set_result(rows[done : done + len(faces)])
                done += len(faces)

    def _next(self) -> list[tuple[Batch, asyncio.Future[list[Prediction]]]]:
        """The calls of the next run, in the order in which they came."""
        calls: list[tuple[Batch, asyncio.Future[list[Prediction]]]] = []
        count = 0
        while self._waiting and (not calls or count + len(self._waiting[0][0]) <= self._most):
            faces, answer = self._waiting.popleft()
            if not answer.done():
                calls.append((faces, answer))
                count += len(faces)
        return calls

    def _timed(self, batch: Batch) -> list[Prediction]:
        start = time.perf_counter()
        rows = self._predict(batch)
        self._metrics.infer_s.observe(time.perf_counter() - start)
        self._metrics.batch_faces.observe(len(batch))
        return rows

    def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)
