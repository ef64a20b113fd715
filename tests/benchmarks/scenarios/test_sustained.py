"""Sustained runs on a planted clock."""

from __future__ import annotations

import tracemalloc
from itertools import chain, repeat
from typing import Any

import pytest

from fer_edge.benchmarks.scenarios.sustained import SCENARIO, ends, run_sustained


@pytest.mark.parametrize(("throttled", "ratio"), [(1.0, 1.0), (1.5, 1.5)])
def test_sustained_sets_the_first_minute_against_the_last(
    clock: Any, throttled: float, ratio: float
) -> None:
    """Ten minutes of 200 ms calls; the device throttles after five."""
    run = run_sustained(
        lambda: clock.work(200 * (throttled if clock.now > 300e9 else 1)), 600, now_ns=clock.now_ns
    )
    assert run["duration_s"] == pytest.approx(600, abs=1)
    assert run["end_s"] == 60
    assert run["last_over_first"] is not None
    assert run["last_over_first"]["ratio"] == pytest.approx(ratio)
    assert (run["first_p50_ms"], run["last_p50_ms"]) == pytest.approx((200, 200 * ratio))
    assert len(run["timeline"]) == 120
    assert [p["at_s"] for p in run["timeline"]] == sorted(p["at_s"] for p in run["timeline"])


def test_a_short_sustained_run_sets_thirds_against_each_other(clock: Any) -> None:
    run = run_sustained(lambda: clock.work(10), 3, now_ns=clock.now_ns)
    assert run["end_s"] == pytest.approx(1, abs=0.02)
    slow = run_sustained(lambda: clock.work(5000), 3, now_ns=clock.now_ns)
    assert slow["samples"] == 120  # one for each point of the timeline, at least


def test_a_part_with_too_few_calls_states_no_ratio(clock: Any) -> None:
    """The first call takes five of ten seconds: no interval of one call has a width."""
    times = chain([5000], repeat(10))
    run = run_sustained(lambda: clock.work(next(times)), 10, now_ns=clock.now_ns)
    assert (run["first_p50_ms"], run["last_over_first"]) == (None, None)
    assert run["last_p50_ms"] == pytest.approx(10)
    cells = {name: cell({**run}) for name, cell in SCENARIO.columns.items()}
    assert (cells["first p50 ms"], cells["last/first"]) == ("n/a", "n/a")


def test_a_long_run_keeps_few_bytes_of_a_call(clock: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run may last for 30 days; two lists took 256 bytes a call."""
    module = "fer_edge.benchmarks.scenarios.sustained"  # what a bootstrap takes has a bound
    monkeypatch.setattr(f"{module}.percentile_ratio", lambda *_: (1.0, 1.0, 1.0))
    monkeypatch.setattr(f"{module}.percentiles", lambda samples: {})
    tracemalloc.start()
    try:
        run_sustained(lambda: clock.work(0.5), 100, now_ns=clock.now_ns)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak / 200_000 < 64


@pytest.mark.parametrize(("gpus", "cell"), [([{"clock_mhz": 900}], "1500 to 900"), ([], "n/a")])
def test_a_gpu_that_was_lost_has_no_clock(gpus: list[dict[str, int]], cell: str) -> None:
    timeline = [{"gpus": [{"clock_mhz": 1500}]}, {"gpus": gpus}]
    assert ends({"timeline": timeline}, "clock_mhz", gpu=True) == cell
