"""Calls of a batch row besides its samples, on a planted clock."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from fer_edge import Predictor
from fer_edge.benchmarks.job import Job
from fer_edge.benchmarks.measure.timing import SETTLE
from fer_edge.benchmarks.scenarios.batch import in_turns


class Slow:
    """Predictor of a fixed speed that counts its calls."""

    def __init__(self, clock: SimpleNamespace, seconds: float) -> None:
        self.clock, self.seconds, self.calls = clock, seconds, 0

    def predict_batch(self, crops: list[Any]) -> list[Any]:
        self.calls += 1
        self.clock.now += self.seconds
        times = SimpleNamespace(preprocess_ms=1.0, infer_ms=2.0, postprocess_ms=3.0)
        return [SimpleNamespace(times=times)]


@pytest.mark.parametrize(("seconds", "split", "alone"), [(1.0, 1, False), (0.0005, 20, True)])
def test_a_spent_budget_leaves_out_what_a_row_can_do_without(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    seconds: float,
    split: int,
    alone: bool,
) -> None:
    """Beyond 24 samples, one second a call is too slow for a budget of half a second."""
    clock = SimpleNamespace(now=0.0)
    clock.monotonic = lambda: clock.now
    clock.perf_counter_ns = lambda: round(clock.now * 1e9)
    for module in ("scenarios.batch", "measure.timing"):
        monkeypatch.setattr(f"fer_edge.benchmarks.{module}.time", clock)
    monkeypatch.setattr("fer_edge.benchmarks.scenarios.batch.device_ms", lambda *_: None)
    slow = {name: Slow(clock, seconds) for name in ("a/fp32", "b/fp32")}
    predictors = cast("dict[str, Predictor]", slow)
    rows = in_turns(Job(tmp_path, 48, predictors, (64,), 0.5, lambda *_: None), 24)
    assert [row["samples"] for row in rows] == [24, 24]
    assert [("alone_p50_ms" in row) for row in rows] == [alone, alone]
    assert rows[0]["split_ms"]["infer"] == 2
    for one in slow.values():
        if not alone:
            assert one.calls == 2 + SETTLE + 24 + split
