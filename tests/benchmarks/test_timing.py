"""The statistics of the harness, against numbers that are known."""

from __future__ import annotations

import json

import numpy as np
import pytest

from fer_edge.benchmarks.environment import environment, noise_note
from fer_edge.benchmarks.timing import MIN_SAMPLES, Samples, interleaved, ratio_interval


def samples(values_ms: list[float] | np.ndarray) -> Samples:
    return Samples(np.round(np.asarray(values_ms) * 1e6).astype(np.int64))


@pytest.mark.parametrize("q", sorted(MIN_SAMPLES))
def test_a_percentile_is_given_only_where_the_samples_carry_it(q: float) -> None:
    enough = MIN_SAMPLES[q]
    assert samples(np.ones(enough)).percentile_ms(q) == 1.0
    assert samples(np.ones(enough - 1)).percentile_ms(q) is None


def test_percentiles_of_a_known_distribution() -> None:
    taken = samples(np.random.default_rng(0).permutation(np.arange(1, 10_001) / 1000))
    for q in (50, 90, 99):
        assert taken.percentile_ms(q) == pytest.approx(q / 10, abs=0.01)


def test_a_stall_shows_in_the_tail_and_not_in_the_median() -> None:
    values = np.ones(1000)
    values[:15] = 50.0
    taken = samples(values)
    assert taken.percentile_ms(50) == 1.0
    assert taken.percentile_ms(99) == 50.0


def test_throughput_counts_every_face_of_every_call() -> None:
    assert samples([10.0] * 5).throughput_hz(8) == pytest.approx(800)


def test_calls_are_interleaved_after_their_warm_up() -> None:
    seen: list[str] = []
    calls = {"a": lambda: seen.append("a"), "b": lambda: seen.append("b")}
    taken = interleaved(calls, 3, warm_up=2)
    assert seen == ["a", "a", "b", "b"] + ["a", "b"] * 3
    assert {name: len(s.ns) for name, s in taken.items()} == {"a": 3, "b": 3}


def test_a_spent_budget_ends_the_run_after_a_whole_round() -> None:
    taken = interleaved({"a": lambda: None, "b": lambda: None}, 1000, budget_s=0.0)
    assert len(taken["a"].ns) == len(taken["b"].ns) == 1


def test_the_interval_of_a_ratio_holds_the_planted_one() -> None:
    rng = np.random.default_rng(1)
    slow, fast = samples(2 * rng.lognormal(0, 0.1, 700)), samples(rng.lognormal(0, 0.1, 700))
    ratio, low, high = ratio_interval(slow, fast)
    assert low <= ratio <= high
    assert low < 2.0 < high
    assert high - low < 0.2


def test_equal_distributions_are_not_told_apart() -> None:
    rng = np.random.default_rng(2)
    wrong = 0
    for seed in range(40):
        a, b = samples(rng.lognormal(0, 0.2, 300)), samples(rng.lognormal(0, 0.2, 300))
        _, low, high = ratio_interval(a, b, rounds=300, seed=seed)
        wrong += not low <= 1.0 <= high
    assert wrong <= 6  # 5 % are expected of a 95 % interval; 7 of 40 has a chance under 0.5 %


def test_the_environment_is_complete_and_plain() -> None:
    env = environment()
    assert json.loads(json.dumps(env)) == env
    assert env["cpu"]
    assert env["cores"] >= 1
    assert "onnxruntime" in env["libraries"]


@pytest.mark.parametrize(("load", "noisy"), [(0.1, False), (1.7, True)])
def test_a_busy_machine_is_called_busy(load: float, noisy: bool) -> None:
    assert (noise_note({"load_1min": load, "cores": 2}) is not None) is noisy
