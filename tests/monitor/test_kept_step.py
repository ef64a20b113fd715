"""A wait for a state that is cancelled leaves the state, or its error, to the next one."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fer_edge.monitor import DriverMonitor, Frames, MonitorState, Settings, WholeFrame
from fer_edge.preprocess import Image

Picture = Callable[..., Image]


def test_any_loop_takes_the_state_of_a_wait_that_was_cancelled(
    fake_bundle: Path, picture: Picture
) -> None:
    gates = [threading.Event() for _ in range(5)]

    def slow() -> Iterator[Image]:
        for number, gate in enumerate(gates):
            assert gate.wait(30)
            yield picture(number)

    async def give_up() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(monitor), 0.01)

    async def one() -> int:
        return (await anext(monitor)).frame_index

    async def mixed() -> list[int]:
        await give_up()
        gates[0].set()
        indices = [next(monitor).frame_index]
        gates[1].set()
        indices.append(await one())
        await give_up()
        gates[2].set()  # asyncio.run() waits for the thread at its end
        return indices

    async def end() -> list[int]:
        return [state.frame_index async for state in monitor]

    settings = Settings(no_frame_s=30)
    with DriverMonitor(
        fake_bundle, Frames(slow()), detector=WholeFrame(), settings=settings
    ) as monitor:
        assert asyncio.run(mixed()) == [0, 1]
        assert asyncio.run(one()) == 2
        gates[3].set()
        gates[4].set()
        assert asyncio.run(end()) == [3, 4]


@pytest.mark.parametrize("closes", [False, True])
def test_an_error_of_a_wait_that_was_cancelled_is_raised_next_or_dropped(
    closes: bool, fake_bundle: Path, picture: Picture, caplog: pytest.LogCaptureFixture
) -> None:
    gate, called = threading.Event(), threading.Event()

    def fail(state: MonitorState) -> None:
        called.set()
        assert gate.wait(30)
        raise ValueError("of a callback")

    async def watch() -> None:
        monitor = DriverMonitor(
            fake_bundle, Frames([picture(0)]), detector=WholeFrame(), on_state=fail
        )
        waiting = asyncio.create_task(anext(monitor))
        await asyncio.to_thread(called.wait, 30)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        gate.set()
        if not closes:
            with pytest.raises(ValueError, match="of a callback"):
                await anext(monitor)
        monitor.close()

    asyncio.run(watch())
    gc.collect()
    assert "never retrieved" not in caplog.text
