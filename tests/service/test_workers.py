"""Jobs that outlive their answers keep their threads, and new ones are refused early."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from fer_edge.service.batcher import Batcher
from fer_edge.service.metrics import Metrics
from fer_edge.service.refusals import RefusedError
from fer_edge.service.workers import Workers


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(5000):
        if condition():
            return
        await asyncio.sleep(0.002)
    raise AssertionError("it did not come to that")


async def status(run: Any) -> int:
    with pytest.raises(RefusedError) as refusal:
        await run
    return refusal.value.status


def test_jobs_return_and_raise() -> None:
    async def main() -> None:
        workers = Workers(2, "test")
        assert await asyncio.gather(*(workers.run(lambda n=n: n) for n in range(9))) == [*range(9)]
        with pytest.raises(ZeroDivisionError):
            await workers.run(lambda: 1 / 0)
        assert not workers.busy
        workers.close()

    asyncio.run(main())


def test_an_overdue_job_keeps_its_thread_and_others_are_refused_at_once() -> None:
    async def main() -> None:
        workers, gate = Workers(2, "test"), threading.Event()
        assert await status(workers.run(gate.wait, 0.01)) == 504
        assert workers.busy
        assert await workers.run(lambda: 1) == 1  # one thread is left
        stuck = asyncio.create_task(status(workers.run(gate.wait, 0.2)))
        await asyncio.sleep(0)
        waiting = asyncio.create_task(status(workers.run(lambda: 2)))
        assert await asyncio.gather(stuck, waiting) == [504, 503]
        assert await status(workers.run(lambda: 3)) == 503
        gate.set()
        await until(lambda: not workers.busy)
        assert await workers.run(lambda: 4) == 4
        workers.close()

    asyncio.run(main())


def test_a_caller_that_gives_up_leaves_the_thread_taken_until_the_job_ends() -> None:
    async def main() -> None:
        workers, gate = Workers(1, "test"), threading.Event()
        job = asyncio.create_task(workers.run(gate.wait))
        waiting = asyncio.create_task(workers.run(lambda: 1))
        await asyncio.sleep(0)
        job.cancel()
        assert await status(waiting) == 503
        gate.set()
        await until(lambda: not workers.busy)
        assert await workers.run(lambda: 2) == 2
        workers.close()

    asyncio.run(main())


def test_waiting_jobs_that_are_cancelled_take_no_thread() -> None:
    async def main() -> None:
        workers, gate = Workers(1, "test"), threading.Event()
        first = asyncio.create_task(workers.run(gate.wait))
        others = [asyncio.create_task(workers.run(lambda: 1)) for _ in range(3)]
        await asyncio.sleep(0)
        others[0].cancel()
        gate.set()
        assert await first
        others[1].cancel()  # as its turn comes
        assert await others[2] == 1
        await until(lambda: not workers.busy)
        workers.close()

    asyncio.run(main())


def test_an_engine_that_outlives_its_answers_refuses_new_faces() -> None:

    gate = threading.Event()
    faces = np.zeros((1, 2, 2, 3), np.uint8)

    def predict(batch: Any) -> Any:
        gate.wait(20)
        return [None] * len(batch)

    async def main() -> None:
        batcher = Batcher(predict, 8, Metrics())
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await batcher(faces)
        assert await status(batcher(faces)) == 503
        gate.set()
        await until(lambda: not batcher.busy)
        assert await batcher(faces) == [None]
        batcher.close()

    asyncio.run(main())
