"""The arithmetic of a measurement: on planted numbers, never on the clock."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fer_edge.benchmarks.machine.environment import environment, machine, noise, noise_note
from fer_edge.benchmarks.measure.timing import (
    MIN_SAMPLES,
    SETTLE,
    Samples,
    interleaved,
    ratio_interval,
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


def test_a_spent_budget_ends_with_the_round_so_that_all_have_as_many() -> None:
    taken = interleaved({name: lambda: None for name in "ab"}, 100, warm_up=0, block=5, budget_s=-1)
    assert [len(s.ns) for s in taken.values()] == [5, 5]


# --- ratios --------------------------------------------------------------------------------------


def planted(median_ms: float, seed: int, count: int = 700) -> Samples:
    noise = np.random.default_rng(seed).lognormal(0, 0.2, count)
    return samples(*(median_ms * noise))


@pytest.mark.parametrize("truth", [0.5, 1.0, 1.3, 4.0])
def test_the_interval_holds_the_planted_ratio_and_is_narrow(truth: float) -> None:
    held = 0
    for seed in range(20):
        ratio, low, high = ratio_interval(planted(truth, 2 * seed), planted(1, 2 * seed + 1))
        assert low <= ratio <= high
        assert high - low < 0.1 * truth
        held += low <= truth <= high
    assert held >= 17  # 19 are expected of a 95 % interval


def test_drift_that_hits_both_alike_does_not_widen_the_interval() -> None:
    drift = np.linspace(1, 5, 700)
    ratio, low, high = ratio_interval(samples(*(2 * drift)), samples(*drift))
    assert (ratio, low, high) == pytest.approx((2, 2, 2))


def test_the_interval_is_the_same_each_time() -> None:
    a, b = planted(2, 1), planted(1, 2, count=500)
    assert ratio_interval(a, b) == ratio_interval(a, b)
    assert ratio_interval(a, b) != ratio_interval(a, b, seed=1)


# --- environment ---------------------------------------------------------------------------------


def test_the_environment_is_plain_json_and_says_what_counts() -> None:
    env = environment()
    assert json.loads(json.dumps(env, allow_nan=False)) == env
    assert {"cpu", "cores", "isa", "memory_bytes", "load_1min", "system", "python"} <= set(env)
    assert env["cpu"]
    assert env["cores"] >= 1
    assert {"numpy", "onnxruntime"} <= set(env["libraries"])


def test_a_machine_of_which_only_a_part_may_be_used_is_named_so() -> None:
    env = {"cpu": "A CPU", "cores": 4, "affinity": 4}
    assert machine(env) == machine({**env, "affinity": None}) == "A CPU, 4 cores"
    assert machine({**env, "affinity": 2}) == "A CPU, 2 of 4 cores"


QUIET = {"all": 200.0, "steal": 0.0, "idle": 100.0, "own": 99.0}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, None),
        ({"steal": 5.0}, r"hypervisor took 2\.5%"),
        ({"own": 60.0}, "other processes used 20%"),
    ],
)
def test_what_disturbed_a_measurement_is_named(change: dict[str, float], said: str | None) -> None:
    """Two cores for 100 s, one of them busy with the measurement."""
    found = noise(dict.fromkeys(QUIET, 0.0), {**QUIET, **change}, [])
    note = noise_note({"load_1min": 0.1, "cores": 2}, found)
    assert (note is None) == (said is None)
    if said is not None:
        assert note is not None
        assert re.search(said, note)


@pytest.mark.parametrize(("p90_ms", "noisy"), [(1.1, False), (1.6, True), (None, False)])
def test_a_wide_spread_is_called_noisy(p90_ms: float | None, noisy: bool) -> None:
    rows = [{"p50_ms": 1.0, "p90_ms": p90_ms}, {"no": "latency"}]
    found = noise(dict.fromkeys(QUIET, 0.0), QUIET, rows)
    assert bool(found["reasons"]) is noisy


@pytest.mark.parametrize(("load", "said"), [(0.0, False), (0.5, False), (0.51, True), (7.0, True)])
def test_a_busy_machine_is_said_to_have_been_busy(load: float, said: bool) -> None:
    note = noise_note({"load_1min": load, "cores": 2})
    assert (note is not None) == said
    assert note is None or str(load) in note
