"""Requests that wait together become one run, and each gets its own answers."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import numpy as np

from fer_edge.backends.base import Batch
from fer_edge.errors import EngineError
from fer_edge.results import Prediction, Times
from fer_edge.service.batcher import Batcher
from fer_edge.service.metrics import Metrics


def faces(*values: int) -> Batch:
    return np.stack([np.full((2, 2, 3), value, np.uint8) for value in values])


def answers(batch: Batch) -> list[Prediction]:
    """Each face's answer holds the face's own value, so that a mix-up shows."""
    none = np.zeros(1, np.float32)
    return [
        Prediction("neutral", float(face[0, 0, 0]), {}, none, False, None, Times(0, 0, 0))
        for face in batch
    ]


class Engine:
    """Waits at a gate in its first run, so that others gather meanwhile."""

    def __init__(self, error: Exception | None = None) -> None:
        self.sizes: list[int] = []
        self.started, self.gate = threading.Event(), threading.Event()
        self._error = error

    def __call__(self, batch: Batch) -> list[Prediction]:
        self.sizes.append(len(batch))
        self.started.set()
        assert self.gate.wait(20)
        if self._error is not None and len(self.sizes) == 1:
            raise self._error
        return answers(batch)


def run(engine: Engine, most: int, calls: Callable[[Batcher], list[asyncio.Task[object]]]) -> list:  # type: ignore[type-arg]
    async def main() -> list[object]:
        batcher = Batcher(engine, most, Metrics())
        first = asyncio.create_task(batcher(faces(1)))
        while not engine.started.is_set():
            await asyncio.sleep(0.001)
        tasks = calls(batcher)
        await asyncio.sleep(0)
        engine.gate.set()
        done = await asyncio.gather(first, *tasks, return_exceptions=True)
        batcher.close()
        return list(done)

    return asyncio.run(main())


def confidences(rows: list[Prediction]) -> list[float]:
    return [row.confidence for row in rows]


def test_what_comes_while_the_engine_is_busy_is_one_run() -> None:
    engine = Engine()
    done = run(engine, 32, lambda b: [asyncio.create_task(b(faces(n, n + 100))) for n in range(5)])
    assert engine.sizes == [1, 10]
    assert [confidences(rows) for rows in done[1:]] == [[n, n + 100] for n in range(5)]


def test_a_run_has_at_most_so_many_faces_unless_one_picture_has_more() -> None:
    engine = Engine()
    groups = [faces(2), faces(3, 4), faces(5, 6), faces(*range(10, 17)), faces(7)]
    done = run(engine, 4, lambda b: [asyncio.create_task(b(group)) for group in groups])
    assert engine.sizes == [1, 3, 2, 7, 1]
    assert confidences(done[4]) == list(range(10, 17))


def test_a_picture_without_faces_asks_no_engine() -> None:
    batcher = Batcher(Engine(), 4, Metrics())
    assert asyncio.run(batcher(np.empty((0, 2, 2, 3), np.uint8))) == []


def test_an_error_reaches_those_of_its_run_alone() -> None:
    engine = Engine(EngineError("broken"))
    done = run(engine, 4, lambda b: [asyncio.create_task(b(faces(2)))])
    assert isinstance(done[0], EngineError)
    assert confidences(done[1]) == [2]


def test_who_has_given_up_costs_no_run() -> None:
    engine = Engine()

    def calls(batcher: Batcher) -> list[asyncio.Task[object]]:
        gone, stays = asyncio.create_task(batcher(faces(2))), asyncio.create_task(batcher(faces(3)))
        asyncio.get_running_loop().call_soon(gone.cancel)
        return [gone, stays]  # type: ignore[list-item]

    done = run(engine, 4, calls)
    assert isinstance(done[1], asyncio.CancelledError)
    assert confidences(done[2]) == [3]
    assert engine.sizes == [1, 1]


def test_the_next_batch_comes_after_a_pause() -> None:
    async def main() -> list[float]:
        engine = Engine()
        engine.gate.set()
        batcher = Batcher(engine, 4, Metrics())
        first = await batcher(faces(1))
        second = await batcher(faces(2))
        batcher.close()
        return confidences(first + second)

    assert asyncio.run(main()) == [1, 2]
