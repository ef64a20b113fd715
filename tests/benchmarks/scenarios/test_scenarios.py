"""Figures on planted clocks, loads and leaks; and each scenario once from end to end."""

from __future__ import annotations

import json
from itertools import count
from pathlib import Path

import numpy as np
import pytest

from fer_edge.backends.fake import write_fake_bundle
from fer_edge.benchmarks.bench import bench
from fer_edge.benchmarks.reports.terminal import print_table
from fer_edge.benchmarks.scenarios.base import names
from fer_edge.benchmarks.scenarios.contended import in_turns
from fer_edge.benchmarks.scenarios.memory import memory_figures
from fer_edge.benchmarks.scenarios.sustained import run_sustained
from fer_edge.errors import EngineError

MS = 1_000_000


class Clock:
    """Time that passes only while the planted engine works."""

    now = 0

    def now_ns(self) -> int:
        return self.now

    def work(self, ms: float) -> None:
        self.now += round(ms * MS)


# --- sustained -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("throttled", "ratio"), [(1.0, 1.0), (1.5, 1.5)])
def test_sustained_sets_the_first_minute_against_the_last(throttled: float, ratio: float) -> None:
    """Ten minutes of 200 ms calls; the device throttles after five."""
    clock = Clock()
    run = run_sustained(
        lambda: clock.work(200 * (throttled if clock.now > 300e9 else 1)), 600, now_ns=clock.now_ns
    )
    assert run["duration_s"] == pytest.approx(600, abs=1)
    assert run["end_s"] == 60
    assert run["last_over_first"]["ratio"] == pytest.approx(ratio)
    assert (run["first_p50_ms"], run["last_p50_ms"]) == pytest.approx((200, 200 * ratio))
    assert len(run["timeline"]) == 120
    assert [p["at_s"] for p in run["timeline"]] == sorted(p["at_s"] for p in run["timeline"])


def test_a_short_sustained_run_sets_thirds_against_each_other() -> None:
    clock = Clock()
    run = run_sustained(lambda: clock.work(10), 3, now_ns=clock.now_ns)
    assert run["end_s"] == pytest.approx(1, abs=0.02)
    slow = run_sustained(lambda: clock.work(5000), 3, now_ns=clock.now_ns)
    assert slow["samples"] == 120  # one for each point of the timeline, at least


# --- contended -----------------------------------------------------------------------------------


def test_contended_calls_take_turns_with_calls_alone() -> None:
    clock, states = Clock(), []
    loaded = [False]

    def switch(on: bool) -> None:
        loaded[0] = on
        states.append(on)

    taken = in_turns(
        lambda: clock.work(3 if loaded[0] else 2), switch, budget_s=60, now_ns=clock.now_ns
    )
    assert states == [False, True] * 14
    assert {state: set((s.ns / MS).tolist()) for state, s in taken.items()} == {
        "alone": {2.0},
        "contended": {3.0},
    }
    assert all(s.percentile_ms(99) is not None for s in taken.values())


def test_contended_ends_with_its_budget() -> None:
    clock = Clock()
    taken = in_turns(lambda: clock.work(100), lambda on: None, 1, now_ns=clock.now_ns)
    assert {len(s.ns) for s in taken.values()} == {48}


# --- memory --------------------------------------------------------------------------------------


@pytest.mark.parametrize("leak_bytes_per_call", [0, 80])
def test_growth_is_the_leak_and_not_the_filling_of_pools(leak_bytes_per_call: int) -> None:
    calls = np.arange(1, 51) * 1000
    pools = 20e6 * np.minimum(calls / 10_000, 1)
    jumps = 3e6 * np.random.default_rng(0).integers(0, 2, 50) * (np.arange(50) % 9 == 0)
    rss = 100e6 + pools + leak_bytes_per_call * calls + jumps
    found = memory_figures(np.stack([calls, rss, np.maximum.accumulate(rss)], 1).tolist())
    assert found["growth_bytes_per_100k_calls"] == pytest.approx(
        100_000 * leak_bytes_per_call, rel=0.02, abs=1
    )
    assert found["peak_rss_bytes"] >= found["rss_bytes"]
    assert found["calls"] == 50_000


def test_few_calls_carry_no_growth() -> None:
    found = memory_figures([(n, 100, 100) for n in range(1, 51)])
    assert found["growth_bytes_per_100k_calls"] is None


def test_a_fresh_process_that_fails_says_why(tmp_path: Path) -> None:
    broken = write_fake_bundle(tmp_path / "broken.fer", fail_after=0)
    with pytest.raises(EngineError, match="told to fail"):
        bench(broken, scenario="memory", budget_s=0.1)


# --- each from end to end ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "scenario", sorted(set(names()) - {"batch", "single", "stream", "multistream"})
)
def test_each_scenario_gives_a_row_and_a_table(
    fake_bundle: Path, scenario: str, capsys: pytest.CaptureFixture[str]
) -> None:
    steps = count()
    report = bench(
        fake_bundle, scenario=scenario, budget_s=0.3, step=lambda what, done, total: next(steps)
    )
    assert next(steps) > 0
    assert json.loads(json.dumps(report, allow_nan=False)) == report
    assert {row["variant"] for row in report["rows"]} == {"fake/fp32"}
    print_table(report)
    assert "fake/fp32" in capsys.readouterr().out


def test_offline_counts_every_face_once(fake_bundle: Path) -> None:
    (row,) = bench(fake_bundle, (64,), scenario="offline", budget_s=60)["rows"]
    assert row["faces"] == row["samples"] * 64 >= 24_576
    assert row["in_flight"] >= 2
