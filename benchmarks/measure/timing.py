"""How a latency is measured, and which of its percentiles may be said."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fer_edge.benchmarks.measure.steady import steady

# Least samples before a percentile may be claimed at 99 % confidence with a tolerated margin of
# 1/20 of the tail (MLPerf Inference rules, "Number of queries"); p50 carries itself much earlier.
MIN_SAMPLES: Mapping[float, int] = {50: 24, 90: 64, 95: 130, 99: 662, 99.9: 6636}

SETTLE = 3
"""Uncounted calls at the start of a block, while the engine before goes to sleep."""

Call = Callable[[], object]


@dataclass(frozen=True)
class Samples:
    """Latencies of one callable in nanoseconds, in the order they were taken."""

    ns: npt.NDArray[np.int64]

    def percentile_ms(self, q: float) -> float | None:
        """The q-th percentile in ms, or None where too few samples support it."""
        if len(self.ns) < MIN_SAMPLES[q]:
            return None
        return float(np.percentile(self.ns, q)) / 1e6

    def missing(self, q: float) -> int:
        """How many samples the q-th percentile still needs before it may be said; 0 for none."""
        return max(MIN_SAMPLES[q] - len(self.ns), 0)

    def throughput_hz(self, per_call: int) -> float:
        """Items per second of wall time, all calls counted."""
        return per_call * len(self.ns) / (float(self.ns.sum()) / 1e9)


def interleaved(
    calls: Mapping[str, Call],
    samples: int,
    *,
    warm_up: int = 10,
    block: int = 24,
    budget_s: float = 60.0,
    step: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Samples]:
    """Time each callable in turn, in blocks, so that drift of the machine hits all alike.

    samples: calls of each that are counted at least, after warm_up uncounted ones and those before
    the steady state (steady.METHOD), which stay in what is given. block: calls in a row (one block
    supports a median), after SETTLE uncounted ones: engines keep threads spinning for a while after
    a call, and would steal the cores from the next one (torch took 60 times its time when they took
    turns call by call). budget_s: no further round starts after this; percentiles that then lack
    samples are not given.
    """
    for call in calls.values():
        for _ in range(warm_up):
            call()
    taken: dict[str, list[int]] = {name: [] for name in calls}
    deadline = time.monotonic() + budget_s
    done = 0
    while True:
        for name, call in calls.items():
            for _ in range(SETTLE):
                call()
            for _ in range(block):
                start = time.perf_counter_ns()
                call()
                taken[name].append(time.perf_counter_ns() - start)
        done += block
        step(min(done, samples), samples)
        if time.monotonic() > deadline or (
            done >= samples and all(_kept(values) >= samples for values in taken.values())
        ):
            break
    return {name: Samples(np.array(values, np.int64)) for name, values in taken.items()}


def _kept(values: list[int]) -> int:
    return len(values) - steady(np.array(values, np.int64)).discard


def ratio_interval(
    a: Samples, b: Samples, *, rounds: int = 1000, seed: int = 0
) -> tuple[float, float, float]:
    """Median ratio a/b of paired samples, with a 95 % bootstrap interval: (ratio, low, high)."""
    count = min(len(a.ns), len(b.ns))
    rng = np.random.default_rng(seed)
    picks = rng.integers(0, count, (rounds, count))
    medians = np.median(a.ns[:count][picks], 1) / np.median(b.ns[:count][picks], 1)
    low, high = np.percentile(medians, [2.5, 97.5])
    return float(np.median(a.ns) / np.median(b.ns)), float(low), float(high)
