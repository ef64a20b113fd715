"""The arithmetic of a measurement: on planted numbers, never on the clock."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fer_edge.benchmarks.measure.timing import (
    MIN_SAMPLES,
    SETTLE,
    Samples,
    interleaved,
    least_observations,
)

MS = 1_000_000


def samples(*ms: float) -> Samples:
    return Samples((np.array(ms) * MS).astype(np.int64))


# --- percentiles and throughput ------------------------------------------------------------------


@pytest.mark.parametrize("q", MIN_SAMPLES)
def test_a_percentile_is_given_only_with_enough_samples(q: float) -> None:
    enough = MIN_SAMPLES[q]
    assert samples(*range(1, enough)).percentile_ms(q) is None
    assert samples(*range(1, enough + 1)).percentile_ms(q) == pytest.approx(
        1 + q / 100 * (enough - 1)
    )


@pytest.mark.parametrize("q", [90, 95, 99, 99.9])
def test_the_least_samples_are_those_of_early_stopping(q: float) -> None:
    """Below the percentile lie all samples but one in less than 1 of 100 runs."""

    def chance(samples: int) -> float:
        share = q / 100
        return float(share**samples + samples * (1 - share) * share ** (samples - 1))

    assert chance(MIN_SAMPLES[q]) <= 0.01 < chance(MIN_SAMPLES[q] - 1)


@pytest.mark.parametrize(("tail", "least"), [(0.1, 64), (0.05, 130), (0.01, 662), (0.001, 6636)])
def test_a_share_needs_as_many_observations_as_its_percentile(tail: float, least: int) -> None:
    assert least_observations(tail) == least
    assert least_observations(1e-300) > 1e12
    assert [least_observations(t) for t in (0, 1, 3)] == [0, 0, 0]


def test_higher_percentiles_need_more_samples() -> None:
    counts = [MIN_SAMPLES[q] for q in sorted(MIN_SAMPLES)]
    assert counts == sorted(set(counts))


@given(st.lists(st.integers(1, 10**9), min_size=24, max_size=200))
def test_the_median_does_not_mind_the_order(ns: list[int]) -> None:
    one, other = (Samples(np.array(v, np.int64)) for v in (ns, sorted(ns)))
    assert one.percentile_ms(50) == other.percentile_ms(50) == pytest.approx(np.median(ns) / MS)


@pytest.mark.parametrize(("per_call", "wanted"), [(1, 2.5), (8, 20.0)])
def test_throughput_counts_all_the_time_there_was(per_call: int, wanted: float) -> None:
    assert samples(100, 100, 100, 1300).throughput_hz(per_call) == pytest.approx(wanted)


# --- interleaving --------------------------------------------------------------------------------


def test_calls_take_turns_after_the_warm_up() -> None:
    order: list[str] = []
    steps: list[tuple[int, int]] = []
    taken = interleaved(
        {name: lambda name=name: order.append(name) for name in "abc"},
        4,
        warm_up=2,
        block=2,
        step=lambda done, total: steps.append((done, total)),
    )
    blocks = "".join(name * (SETTLE + 2) for name in "abc")
    assert "".join(order) == "aabbcc" + 2 * blocks
    assert {name: len(s.ns) for name, s in taken.items()} == {"a": 4, "b": 4, "c": 4}
    assert all((s.ns >= 0).all() for s in taken.values())
    assert steps == [(2, 4), (4, 4)]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Time of the module, which passes only in planted calls."""
    planted = SimpleNamespace(now=0.0)
    planted.monotonic = lambda: planted.now
    planted.perf_counter_ns = lambda: round(planted.now * 1e9)
    monkeypatch.setattr("fer_edge.benchmarks.measure.timing.time", planted)
    return planted


@pytest.mark.parametrize(("seconds", "warm_ups"), [(0.001, 10), (1 / 128, 4), (1.0, 2)])
def test_slow_calls_are_warmed_up_within_a_tenth_of_the_budget(
    clock: SimpleNamespace, seconds: float, warm_ups: int
) -> None:
    """The row still has its 24 samples: a budget that is too small buys no wrong figure."""
    made = dict.fromkeys("ab", 0)

    def call(name: str) -> None:
        made[name] += 1
        clock.now += seconds

    calls = {name: partial(call, name) for name in made}
    taken = interleaved(calls, 24, budget_s=0.4)
    assert [len(one.ns) for one in taken.values()] == [24, 24]
    assert made == dict.fromkeys("ab", warm_ups + SETTLE + 24)


def test_a_spent_budget_ends_with_the_round_so_that_all_have_as_many() -> None:
    taken = interleaved({name: lambda: None for name in "ab"}, 100, warm_up=0, block=5, budget_s=-1)
    assert [len(s.ns) for s in taken.values()] == [5, 5]
