"""Pointless variants on a machine, judged on planted latencies."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fer_edge.backends.base import Batch, Outputs
from fer_edge.converters.pipeline import quick_latency
from fer_edge.converters.pipeline.quick_latency import beaten, single_face_p50_ms


@pytest.mark.parametrize(
    ("p50_ms", "agreement", "wanted"),
    [
        ({"a": 1.0}, {"a": 1.0}, {}),
        ({"a": 1.0, "b": 2.0}, {"a": 1.0, "b": 0.99}, {"b": "a"}),
        ({"a": 1.0, "b": 2.0}, {"a": 0.99, "b": 1.0}, {}),
        ({"a": 1.0, "b": 2.0}, {"a": 1.0, "b": 1.0}, {"b": "a"}),
        ({"a": 1.0, "b": 1.0}, {"a": 1.0, "b": 1.0}, {}),
        ({"a": 3.0, "b": 2.0, "c": 1.0}, {"a": 0.9, "b": 1.0, "c": 0.95}, {"a": "c"}),
    ],
    ids=["alone", "worse", "a trade", "as good", "as fast", "by the fastest"],
)
def test_a_variant_is_beaten_by_a_faster_one_that_agrees_as_often(
    p50_ms: dict[str, float], agreement: dict[str, float], wanted: dict[str, str]
) -> None:
    assert beaten(p50_ms, agreement) == wanted


class _Clock:
    """Clock that an engine's calls turn."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def perf_counter_ns(self) -> int:
        return round(self.now_s * 1e9)

    def perf_counter(self) -> float:
        return self.now_s


class _Engine:
    def __init__(self, clock: _Clock, call_s: float) -> None:
        self.clock, self.call_s, self.calls = clock, call_s, 0

    def run(self, batch: Batch) -> Outputs:
        self.calls += 1
        self.clock.now_s += self.call_s
        return np.zeros((1, 7), np.float32), np.zeros((1, 2), np.float32)

    def close(self) -> None:
        pass


@pytest.mark.parametrize(
    ("seconds", "most_s", "fewest_calls"),
    [((0.0005, 0.001), 2, 365), ((0.4, 0.2), 90, 20), ((5.0, 2.0), 90, 4)],
    ids=["small networks", "ViT on a small CPU", "seconds a face"],
)
def test_slow_networks_are_timed_for_a_bounded_time(
    monkeypatch: pytest.MonkeyPatch,
    seconds: tuple[float, float],
    most_s: float,
    fewest_calls: int,
) -> None:
    clock = _Clock()
    monkeypatch.setattr(quick_latency, "time", clock)
    engines: Any = {f"{each}": _Engine(clock, each) for each in seconds}
    p50_ms = single_face_p50_ms(engines, np.zeros((1, 48, 48, 3), np.uint8))
    assert p50_ms == {f"{each}": pytest.approx(1000 * each) for each in seconds}
    assert clock.now_s < most_s
    assert all(engine.calls >= fewest_calls for engine in engines.values())
