"""Engines that die or hang while running: the next variant answers, and health says so."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

import numpy as np
import pytest

from fer_edge.backends import fake
from fer_edge.backends.base import Batch, Outputs
from fer_edge.errors import TargetError
from fer_edge.monitor import failover
from fer_edge.monitor.failover import FailoverPredictor, Worker
from fer_edge.monitor.health import HealthMonitor
from fer_edge.predictor import Predictor

FACES = np.random.default_rng(0).integers(0, 256, (2, 48, 48, 3), np.uint8)
WARM_UP = 4  # calls that loading takes
FakeVariants = Callable[..., Path]
Start = Callable[..., FailoverPredictor]


@pytest.fixture
def health() -> HealthMonitor:
    return HealthMonitor()


@pytest.fixture
def start(health: HealthMonitor, clock: Callable[[], float]) -> Iterator[Start]:
    started = []

    def make(bundle: Path, watchdog_s: float = 5.0) -> FailoverPredictor:
        inference = FailoverPredictor(
            lambda exclude: Predictor(bundle, exclude=exclude), health, clock, watchdog_s
        )
        started.append(inference)
        return inference

    yield make
    for inference in started:
        inference.close()


def answering(inference: FailoverPredictor) -> str | None:
    return None if inference.predictor is None else inference.predictor.variant.name


def test_a_backend_that_dies_is_replaced_while_running(
    start: Start, fake_variants: FakeVariants, health: HealthMonitor
) -> None:
    bundle = fake_variants(int8={"fail_after": WARM_UP + 3}, fp32={})
    inference = start(bundle)
    for _ in range(3):
        assert inference.predict(FACES) is not None
    assert answering(inference) == "fake/int8"
    assert health.state().status == "ok"
    answers = inference.predict(FACES)  # the very call that fails is answered
    assert answers is not None
    assert [answer.label for answer in answers] == ["neutral"] * 2
    assert answering(inference) == "fake/fp32"
    (reason,) = health.state().reasons
    assert health.state().status == "degraded"
    assert "fake/fp32 answers instead" in reason
    assert "fake/int8 failed: the fake engine was told to fail" in reason
    assert inference.predictor is not None
    assert [str(choice) for choice in inference.predictor.explain()] == [
        "fake/int8: excluded by the caller",
        "fake/fp32: taken (not proven: it has no parity report)",
    ]


def test_a_variant_that_dies_while_warming_up_is_passed_over(
    start: Start, fake_variants: FakeVariants, health: HealthMonitor
) -> None:
    inference = start(fake_variants(int8={"fail_after": 1}, fp32={}))
    assert answering(inference) == "fake/fp32"
    assert health.state().status == "degraded"


def test_where_nothing_runs_all_are_tried_again_after_a_while(
    start: Start,
    fake_variants: FakeVariants,
    health: HealthMonitor,
    clock: Callable[[], float],
) -> None:
    inference = start(fake_variants(fp32={"fail_after": WARM_UP + 1}))
    assert inference.predict(FACES) is not None
    assert inference.predict(FACES) is None
    assert health.state().status == "lost"
    assert "no variant runs: fake/fp32 failed" in health.state().reasons[0]
    assert inference.predict(FACES) is None  # not tried yet
    assert answering(inference) is None
    clock.pass_(1.1)  # type: ignore[attr-defined]
    assert inference.predict(FACES) is not None  # loaded anew, it has one more call in it
    assert health.state().status == "ok"


def test_at_the_start_nothing_that_runs_is_an_error(
    start: Start, fake_variants: FakeVariants
) -> None:
    with pytest.raises(TargetError):
        start(fake_variants(fp32={"fail_after": 0}))


def test_an_engine_that_hangs_is_left_behind(
    start: Start,
    fake_variants: FakeVariants,
    health: HealthMonitor,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    never, calls = threading.Event(), []
    answer = fake.FakeSession.run

    def run(self: fake.FakeSession, batch: Batch) -> Outputs:
        calls.append(len(batch))
        if len(calls) == WARM_UP + 2:
            never.wait(20)
        return answer(self, batch)

    monkeypatch.setattr(fake.FakeSession, "run", run)
    inference = start(fake_variants(int8={}, fp32={}), watchdog_s=0.1)
    assert inference.predict(FACES) is not None
    assert inference.predict(FACES) is not None
    assert answering(inference) == "fake/fp32"
    assert "fake/int8 failed: no answer within 0.1 s" in health.state().reasons[0]
    never.set()  # and when it comes back after all, nobody listens
    answers = inference.predict(FACES[:1])
    assert answers is not None
    assert len(answers) == 1


def test_variants_that_hang_are_not_loaded_again_until_they_come_back(
    start: Start,
    fake_variants: FakeVariants,
    health: HealthMonitor,
    clock: Callable[[], float],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hangs, never, before = threading.Event(), threading.Event(), set(threading.enumerate())
    answer = fake.FakeSession.run

    def run(self: fake.FakeSession, batch: Batch) -> Outputs:
        if hangs.is_set():
            never.wait(60)
        return answer(self, batch)

    monkeypatch.setattr(fake.FakeSession, "run", run)
    inference = start(fake_variants(int8={}, fp32={}), watchdog_s=0.1)
    monkeypatch.setattr(failover, "_LOAD_S", 0.1)
    hangs.set()
    for _ in range(5):
        assert inference.predict(FACES) is None
        clock.pass_(61)  # type: ignore[attr-defined]
        (reason,) = health.state().reasons
        for name in ("int8", "fp32"):
            assert f"fake/{name} failed: no answer within 0.1 s" in reason
    threads = set(threading.enumerate()) - before
    assert len(threads) == 3  # one for each variant, and one that waits
    monkeypatch.setattr(failover, "_LOAD_S", 60.0)
    hangs.clear()
    never.set()
    for thread in threads:
        thread.join(0 if thread is inference._worker._thread else 60)
    for _ in range(2):  # they have come back; the next attempt knows
        inference.predict(FACES)
        clock.pass_(61)  # type: ignore[attr-defined]
    assert inference.predict(FACES) is not None


def test_a_load_that_hangs_is_not_repeated_meanwhile(
    fake_variants: FakeVariants,
    health: HealthMonitor,
    clock: Callable[[], float],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bundle, never, loads = fake_variants(fp32={"fail_after": WARM_UP}), threading.Event(), []

    def make(exclude: Collection[str]) -> Predictor:
        loads.append(exclude)
        if len(loads) > 1:
            never.wait(60)
        return Predictor(bundle, exclude=())

    inference = failover.FailoverPredictor(make, health, clock, 5.0)
    monkeypatch.setattr(failover, "_LOAD_S", 0.1)
    for _ in range(4):
        assert inference.predict(FACES) is None
        clock.pass_(61)  # type: ignore[attr-defined]
    assert len(loads) == 2
    assert "the last attempt still hangs" in health.state().reasons[0]
    never.set()
    inference.close()


@pytest.mark.parametrize(("watchdog_s", "is_here"), [(5.0, False), (86400.0, True)])
def test_without_a_watchdog_inference_runs_where_it_is_called(
    start: Start,
    fake_variants: FakeVariants,
    monkeypatch: pytest.MonkeyPatch,
    watchdog_s: float,
    is_here: bool,
) -> None:
    inference = start(fake_variants(int8={"fail_after": WARM_UP + 1}, fp32={}), watchdog_s)
    threads: list[int] = []
    predict = Predictor.predict_batch

    def noted(self: Predictor, faces: np.ndarray) -> object:
        threads.append(threading.get_ident())
        return predict(self, faces)

    monkeypatch.setattr(Predictor, "predict_batch", noted)
    for _ in range(2):  # the second call fails, and the next variant answers it
        assert inference.predict(FACES) is not None
    assert answering(inference) == "fake/fp32"
    assert {thread == threading.get_ident() for thread in threads} == {is_here}


def test_an_engine_may_raise_anything(
    start: Start, fake_variants: FakeVariants, monkeypatch: pytest.MonkeyPatch
) -> None:
    inference = start(fake_variants(int8={}, fp32={}))
    first = inference.predictor
    assert first is not None

    def run(faces: object) -> object:
        raise MemoryError("no memory left on the device")

    monkeypatch.setattr(first, "predict_batch", run)
    assert inference.predict(FACES) is not None
    assert answering(inference) == "fake/fp32"


def test_a_late_answer_of_a_worker_reaches_nobody() -> None:
    worker, gate = Worker(), threading.Event()
    with pytest.raises(TimeoutError, match=r"within 0\.01 s"):
        worker.call(lambda: gate.wait(20), 0.01)
    gate.set()
    other = Worker()
    assert other.call(lambda: "new", 5.0) == "new"
    other.stop()


def test_a_worker_gives_back_results_and_errors() -> None:
    worker = Worker()
    assert worker.call(lambda: 7, 5.0) == 7
    with pytest.raises(ZeroDivisionError):
        worker.call(lambda: 1 // 0, 5.0)
    assert worker.call(threading.get_ident, 5.0) != threading.get_ident()
    worker.stop()
