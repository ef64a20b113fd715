"""Intervals of ratios on planted latencies: how often they hold the true ratio."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from fer_edge.benchmarks.measure.percentile_ratio import (
    LEAST_SAMPLES,
    percentile_ratio,
    percentile_ratios,
)

Latencies = npt.NDArray[np.int64]


def independent(median_ms: float, seed: int, count: int = 700) -> Latencies:
    noise = np.random.default_rng(seed).lognormal(0, 0.2, count)
    return (median_ms * 1e6 * noise).astype(np.int64)


def clumped(seed: int, count: int = 720, length: int = 8) -> Latencies:
    """Eight calls in a row share a level, as on a machine that is slow for moments."""
    rng = np.random.default_rng(seed)
    levels = np.repeat(rng.lognormal(0, 0.2, count // length + 1), length)
    first = rng.integers(length)
    own = rng.lognormal(0, 0.02, count)
    return (1e6 * levels[first : first + count] * own).astype(np.int64)


def single_draws(a: Latencies, b: Latencies) -> tuple[float, float]:
    """Bootstrap of single calls, as intervals were computed before: the method under suspicion."""
    picks = np.random.default_rng(0).integers(0, len(a), (500, len(a)))
    low, high = np.percentile(np.median(a[picks], 1) / np.median(b[picks], 1), [2.5, 97.5])
    return float(low), float(high)


@pytest.mark.parametrize("paired", [True, False])
def test_clumped_latencies_are_covered(paired: bool) -> None:
    covered = 0
    for seed in range(100):
        _, low, high = percentile_ratio(clumped(2 * seed), clumped(2 * seed + 1), 50, paired=paired)
        covered += low <= 1 <= high
    assert 90 <= covered <= 99  # 95 are expected


@pytest.mark.slow
def test_the_least_samples_of_a_verdict_are_covered() -> None:
    """Of 400 intervals at 95 %, 20 are expected to leave out the truth."""
    out = 0
    for seed in range(400):
        pair = clumped(2 * seed, LEAST_SAMPLES), clumped(2 * seed + 1, LEAST_SAMPLES)
        _, low, high = percentile_ratio(*pair, 50)
        out += not low <= 1 <= high
    assert out <= 36


def test_fewer_samples_are_covered_too_seldom() -> None:
    """The reason for LEAST_SAMPLES: blocks of three calls are no observations of their own."""
    out = 0
    for seed in range(200):
        _, low, high = percentile_ratio(clumped(2 * seed, 24), clumped(2 * seed + 1, 24), 50)
        out += not low <= 1 <= high
    assert out > 24  # 10 are expected


def test_drawing_single_calls_covers_too_little() -> None:
    """The reason for blocks: an interval that claims 95 % holds the truth every second time."""
    covered = 0
    for seed in range(100):
        low, high = single_draws(clumped(2 * seed), clumped(2 * seed + 1))
        covered += low <= 1 <= high
    assert covered < 65


def test_drawing_clumps_as_one_makes_the_interval_wider() -> None:
    """As wide as the evidence is: 30 clumps of 24 equal calls are 30 observations."""
    clumps = np.repeat(np.random.default_rng(0).lognormal(0, 0.2, 30), 24) * 1e6
    alone = np.random.default_rng(1).permutation(clumps)
    wide, narrow = (
        percentile_ratio(ns.astype(np.int64), ns.astype(np.int64), 50) for ns in (clumps, alone)
    )
    assert wide[2] - wide[1] > 2 * (narrow[2] - narrow[1])


@pytest.mark.parametrize("truth", [0.5, 1.0, 1.3, 4.0])
def test_the_interval_holds_the_planted_ratio_and_is_narrow(truth: float) -> None:
    covered = 0
    for seed in range(20):
        ratio, low, high = percentile_ratio(
            independent(truth, 2 * seed), independent(1, 2 * seed + 1), 50, paired=True
        )
        assert low <= ratio <= high
        assert high - low < 0.12 * truth
        covered += low <= truth <= high
    assert covered >= 17  # 19 are expected of a 95 % interval


def test_drift_of_calls_in_turns_does_not_widen_the_interval() -> None:
    drift = 1e6 * np.linspace(1, 5, 700)
    twice, once = (2 * drift).astype(np.int64), drift.astype(np.int64)
    assert percentile_ratio(twice, once, 50, paired=True) == pytest.approx((2, 2, 2), rel=1e-5)
    _, low, high = percentile_ratio(twice, once, 50)
    assert high - low > 0.1


def test_the_interval_is_the_same_each_time() -> None:
    a, b = independent(2, 1), independent(1, 2, count=500)
    assert percentile_ratio(a, b, 50, paired=True) == percentile_ratio(a, b, 50, paired=True)
    assert percentile_ratio(a, b, 50) != percentile_ratio(a, b, 50, seed=1)
    several = percentile_ratios(a, b, (50, 90, 99))
    assert several == [percentile_ratio(a, b, q) for q in (50, 90, 99)]
