"""Several cameras with one Predictor, and constructors that fail."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fer_edge.backends import fake
from fer_edge.backends.base import Batch, Outputs
from fer_edge.errors import EngineError, FerEdgeError, InputError
from fer_edge.monitor import DriverMonitor, EventRule, Frames, HealthCause, Settings, WholeFrame
from fer_edge.predictor import Predictor
from fer_edge.preprocess import Image

Picture = Callable[..., Image]


def test_cameras_share_a_predictor_that_stays_open(fake_bundle: Path, picture: Picture) -> None:
    labels: dict[int, list[str | None]] = {}

    def watch(number: int) -> None:
        frames = Frames((picture(100 * number + n) for n in range(60)), hz=30)
        with DriverMonitor(predictor, frames, detector=WholeFrame()) as monitor:
            assert monitor.predictor is predictor
            labels[number] = [state.driver.label for state in monitor if state.driver]

    with Predictor(fake_bundle) as predictor:
        threads = [threading.Thread(target=watch, args=[number]) for number in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert [set(labels[number][30:]) for number in range(3)] == [{"neutral"}] * 3
        assert predictor(picture(0)).label == "neutral"


def test_a_shared_predictor_that_fails_is_replaced_for_its_monitor(
    fake_variants: Callable[..., Path], picture: Picture
) -> None:
    bundle = fake_variants(int8={"fail_after": 10}, fp32={})
    frames = Frames((picture(n) for n in range(60)), hz=30)
    with Predictor(bundle) as predictor:
        assert predictor.variant.precision == "int8"
        with DriverMonitor(predictor, frames, detector=WholeFrame()) as monitor:
            states = list(monitor)
            assert monitor.predictor is not None
            assert monitor.predictor.variant.precision == "fp32"
    assert states[-1].health.causes == {HealthCause.FAILOVER: "degraded"}
    assert states[-1].driver is not None
    assert states[-1].driver.label == "neutral"


@pytest.mark.parametrize(("sizes", "calls"), [((1, 2), 4), ((1,), 6), ((), 4)])
def test_a_shared_predictor_is_warmed_up_unless_it_is_warm(
    fake_bundle: Path, monkeypatch: pytest.MonkeyPatch, sizes: tuple[int, ...], calls: int
) -> None:
    batches: list[int] = []
    answer = fake.FakeSession.run

    def run(self: fake.FakeSession, batch: Batch) -> Outputs:
        batches.append(len(batch))
        return answer(self, batch)

    monkeypatch.setattr(fake.FakeSession, "run", run)
    with Predictor(fake_bundle) as predictor:
        predictor.warm_up(sizes)
        for _ in range(2):
            DriverMonitor(predictor, [], detector=WholeFrame()).close()
    assert len(batches) == calls


def test_a_shared_predictor_that_was_swapped_is_replaced_as_well(
    fake_variants: Callable[..., Path], picture: Picture, tmp_path: Path
) -> None:
    new = fake_variants(int8={"fail_after": 10}, fp32={}).rename(tmp_path / "new.fer")
    frames = Frames((picture(n) for n in range(60)), hz=30)
    with Predictor(fake_variants(bf16={}, int8={}), exclude=["fake/bf16"]) as predictor:
        predictor.swap(new)
        with DriverMonitor(predictor, frames, detector=WholeFrame()) as monitor:
            assert [state.health.status for state in monitor].count("lost") == 0
            assert monitor.predictor is not None
            assert monitor.predictor.variant.precision == "fp32"


def test_a_shared_predictor_that_was_closed_is_not_replaced(
    fake_variants: Callable[..., Path], picture: Picture
) -> None:
    predictor = Predictor(fake_variants(int8={}, fp32={}))
    frames = Frames((picture(n) for n in range(60)), hz=30)
    with DriverMonitor(predictor, frames, detector=WholeFrame()) as monitor:
        next(monitor)
        predictor.close()
        last = list(monitor)[-1]
        assert monitor.predictor is None
    assert last.health.causes == {HealthCause.NO_ENGINE: "lost"}
    assert "Predictor of this monitor was closed. Make a new" in last.health.reasons[0]
    with pytest.raises(EngineError, match="was closed"):
        DriverMonitor(predictor, [], detector=WholeFrame())


@pytest.mark.parametrize("option", [{"target": "fake"}, {"device": "cpu"}, {"threads": 1}])
def test_options_go_to_the_shared_predictor(fake_bundle: Path, option: dict[str, object]) -> None:
    with Predictor(fake_bundle) as predictor, pytest.raises(InputError, match="to the Predictor"):
        DriverMonitor(predictor, [], detector=WholeFrame(), **option)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "wrong", [{"settings": Settings(events=(EventRule("angry", 1),))}, {"target": "onnxruntime"}]
)
def test_a_monitor_that_cannot_be_made_leaves_no_thread(
    fake_bundle: Path, wrong: dict[str, object]
) -> None:
    before = set(threading.enumerate())
    with pytest.raises(FerEdgeError):
        DriverMonitor(fake_bundle, [np.zeros((9, 9, 3), np.uint8)], detector=WholeFrame(), **wrong)  # type: ignore[arg-type]
    for thread in set(threading.enumerate()) - before:
        thread.join(10)
        assert not thread.is_alive()
