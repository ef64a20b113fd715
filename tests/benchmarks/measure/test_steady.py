"""Steady state on planted latencies: found where it begins, and not claimed where it is none."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from fer_edge.benchmarks.measure.steady import WINDOW, steady

MS = 1_000_000


def noisy(shape: npt.NDArray[np.float64], seed: int, spread: float = 0.1) -> npt.NDArray[np.int64]:
    noise = np.random.default_rng(seed).lognormal(0, spread, len(shape))
    return (shape * noise * MS).astype(np.int64)


def test_few_samples_say_nothing() -> None:
    found = steady(noisy(np.ones(100), 0))
    assert (found.discard, found.reached) == (0, None)


def test_samples_that_are_steady_from_the_first_are_nearly_all_kept() -> None:
    found = [steady(noisy(np.ones(720), seed)) for seed in range(100)]
    assert sum(f.reached is True for f in found) >= 95
    assert sum(f.discard <= 3 * WINDOW for f in found) >= 95


@pytest.mark.parametrize("slow", [48, 150, 300])
@pytest.mark.parametrize("factor", [1.3, 3.0])
def test_a_slow_start_is_discarded(slow: int, factor: float) -> None:
    for seed in range(20):
        shape = np.where(np.arange(960) < slow, factor, 1.0)
        found = steady(noisy(shape, seed))
        assert found.reached
        assert slow - WINDOW < found.discard <= slow + 3 * WINDOW


def test_a_warm_up_that_dies_away_is_discarded() -> None:
    shape = 1 + 2 * np.exp(-np.arange(960) / 60)
    found = steady(noisy(shape, 0))
    assert found.reached
    assert shape[found.discard] < 1.15
    assert found.discard < 400


def test_a_drift_that_never_ends_is_not_called_steady() -> None:
    for seed in range(20):
        found = steady(noisy(np.linspace(1, 1.6, 960), seed, spread=0.05))
        assert found.reached is False
        assert found.discard <= 480


def test_a_step_late_in_the_run_is_not_called_steady() -> None:
    """The device throttles at two thirds of the run."""
    shape = np.where(np.arange(960) < 640, 1.0, 1.4)
    assert all(steady(noisy(shape, seed)).reached is False for seed in range(20))


def test_single_stalls_do_not_end_the_steady_state() -> None:
    shape = np.ones(960)
    shape[::97] = 40
    found = steady(noisy(shape, 0))
    assert found.reached
    assert found.discard <= 2 * WINDOW
