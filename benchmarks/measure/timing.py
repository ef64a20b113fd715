"""Timing of calls in turns, and the samples that each percentile requires."""

from __future__ import annotations

import math
import time
from bisect import bisect_left
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from fer_edge.benchmarks.measure.steady import steady

MIN_SAMPLES: Mapping[float, int] = {50: 24, 90: 64, 95: 130, 99: 662, 99.9: 6636}
"""Least samples of each percentile.

Of so many independent samples, the second largest lies above the percentile at 99 % confidence:
with fewer, the early stopping of MLPerf's LoadGen gives no estimate at all. The p50 needs one
block. The reported value is the samples' own percentile, and its true rank may be another: that of
a p99 of 662 samples lies between p97.5 and p99.6 in 99 of 100 runs.
"""


def least_observations(tail: float) -> int:
    """Return the least observations that judge a share of ``tail`` (0..1).

    The rule of MIN_SAMPLES: of so many independent ones, at most one is in the tail in less than 1
    of 100 runs. 0 if the tail is empty: any observation breaks such a limit.
    """
    if not 0 < tail < 1:
        return 0
    tail = max(tail, 1e-12)  # more observations than any run has

    def seldom(count: int) -> bool:
        rest = math.exp((count - 1) * math.log1p(-tail))
        return rest * (1 - tail + count * tail) <= 0.01

    high = 1
    while not seldom(high):
        high *= 2
    return bisect_left(range(high), True, key=seldom)


SETTLE = 3
"""Uncounted calls at the start of a block. Meanwhile the last engine's threads go to sleep."""

_WARM_UP_SHARE = 0.1
"""Share (0..1) of a budget after which no further call of a warm-up starts."""

Call = Callable[[], object]


@runtime_checkable
class TimesItself(Protocol):
    """Call that runs and times itself elsewhere, without the time of the transfer."""

    def __call__(self) -> object:
        """Run once."""
        ...

    def times_ns(self, settle: int, calls: int) -> list[int]:
        """Return the nanoseconds of each call, after ``settle`` uncounted ones."""
        ...


def run_warm_up(call: Call, calls: int, budget_s: float) -> None:
    """Call up to ``calls`` times, as long as a tenth of the budget lasts; once at least.

    The first call does not count towards it: an engine may compile in it.
    """
    if calls:
        call()
    deadline = time.monotonic() + _WARM_UP_SHARE * budget_s
    for _ in range(calls - 1):
        if time.monotonic() >= deadline:
            break
        call()


def settle_and_time(call: Call, settle: int, calls: int) -> list[int]:
    """Return the nanoseconds of each call, after ``settle`` uncounted ones."""
    for _ in range(settle):
        call()
    times = []
    for _ in range(calls):
        start = time.perf_counter_ns()
        call()
        times.append(time.perf_counter_ns() - start)
    return times


@dataclass(frozen=True)
class Samples:
    """Latencies of one callable.

    Attributes:
        ns: Nanoseconds in the order they were taken, int64 ``[N]``.
    """

    ns: npt.NDArray[np.int64]

    def percentile_ms(self, q: float) -> float | None:
        """Return the q-th percentile in ms, or None if it lacks samples."""
        if len(self.ns) < MIN_SAMPLES[q]:
            return None
        return float(np.percentile(self.ns, q)) / 1e6

    def missing(self, q: float) -> int:
        """Return the number of samples that the q-th percentile lacks."""
        return max(MIN_SAMPLES[q] - len(self.ns), 0)

    def throughput_hz(self, per_call: int) -> float:
        """Return items per second of wall time; ``per_call`` items a call."""
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
    """Time callables in turns, in blocks.

    Turns, because drift of the machine then hits all alike. Blocks, because the threads of an
    engine spin for a while after a call and take the cores from the next engine. torch took 60
    times as long when turns changed with every call.

    Args:
        calls: Callables by name.
        samples: Least steady samples of each (``steady.METHOD``). The samples before the steady
            state are returned as well.
        warm_up: Uncounted calls of each at the start; see ``run_warm_up``.
        block: Calls in a row, after SETTLE uncounted ones; one block supports a median.
        budget_s: Seconds after which no further round starts. The first round always ends.
        step: Progress callback.

    Returns:
        Samples by name, as many of each.
    """
    for call in calls.values():
        run_warm_up(call, warm_up, budget_s / len(calls))
    latencies: dict[str, list[int]] = {name: [] for name in calls}
    deadline = time.monotonic() + budget_s
    done = 0
    while True:
        for name, call in calls.items():
            if isinstance(call, TimesItself):
                latencies[name] += call.times_ns(SETTLE, block)
            else:
                latencies[name] += settle_and_time(call, SETTLE, block)
        done += block
        step(min(done, samples), samples)
        if time.monotonic() > deadline or (
            done >= samples and all(_steady(values) >= samples for values in latencies.values())
        ):
            break
    return {name: Samples(np.array(values, np.int64)) for name, values in latencies.items()}


def _steady(values: list[int]) -> int:
    return len(values) - steady(np.array(values, np.int64)).discard
