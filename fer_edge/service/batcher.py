"""Batcher: requests that wait together share one run of the engine."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from functools import partial

import numpy as np

from fer_edge.backends.base import Batch
from fer_edge.results import Prediction
from fer_edge.service.metrics import Metrics
from fer_edge.service.refusals import RefusedError
from fer_edge.service.workers import Workers

_Call = tuple[Batch, asyncio.Future[list[Prediction]]]


class Batcher:
    """Thread of the engine, which runs all waiting faces at once.

    Faces wait while the engine is busy.

    No request waits for a batch to fill. An idle engine starts at once; under load the batch fills
    while the engine is busy.
    """

    def __init__(
        self, predict: Callable[[Batch], list[Prediction]], most: int, metrics: Metrics
    ) -> None:
        """Prepare the engine's thread.

        Args:
            predict: uint8 ``[N, S, S, 3]`` BGR to one Prediction per face.
            most: faces in one run; the faces of one call stay together, also if they are more.
            metrics: counts runs and faces.
        """
        self._predict, self._most, self._metrics = predict, most, metrics
        self._waiting: deque[_Call] = deque()
        self._engine = Workers(1, "fer-edge-engine")
        self._running: asyncio.Task[None] | None = None
        self._in_run: list[_Call] = []

    @property
    def busy(self) -> bool:
        """True while the engine runs."""
        return self._engine.busy

    async def __call__(self, faces: Batch) -> list[Prediction]:
        """Return one Prediction per face.

        Raises:
            RefusedError: 503 if a run of the engine has outlived all its answers.
            Exception: what ``predict`` raised.
        """
        if not len(faces):
            return []
        if self._in_run and all(answer.done() for _, answer in self._in_run):
            raise RefusedError(
                503, "the engine is still busy with an earlier request. Try again", retry_after_s=5
            )
        answer: asyncio.Future[list[Prediction]] = asyncio.get_running_loop().create_future()
        self._waiting.append((faces, answer))
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._run())
        return await answer

    async def _run(self) -> None:
        while calls := self._next():
            self._in_run = calls
            try:
                batch = np.concatenate([faces for faces, _ in calls])
                rows = await self._engine.run(partial(self._timed, batch))
            except Exception as error:
                for _, answer in calls:
                    if not answer.done():
                        answer.set_exception(error)
                continue
            finally:
                self._in_run = []
            done = 0
            for faces, answer in calls:
                if not answer.done():  # its caller may have given up
                    answer.set_result(rows[done : done + len(faces)])
                done += len(faces)

    def _next(self) -> list[_Call]:
        """Return the calls of the next run, in the order of their arrival.

        Their faces have one size: after a swap, faces that were cut by the old rule wait for a
        run of their own.
        """
        calls: list[_Call] = []
        count = 0
        while self._waiting and (
            not calls
            or (
                count + len(self._waiting[0][0]) <= self._most
                and self._waiting[0][0].shape[1:] == calls[0][0].shape[1:]
            )
        ):
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
        """End the engine's thread once it has nothing to do."""
        self._engine.close()
