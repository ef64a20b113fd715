"""A camera at a fixed rate: which frames are answered in time, and how old they are by then.

After the constant stream of MLPerf Automotive (fixed arrival rate, p99.9), with what a driver
monitor does to it: **the latest frame wins**. An engine that becomes free takes the newest frame
that has arrived; older ones that wait are dropped, never queued.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fer_edge import InputError
from fer_edge.benchmarks.measure.rows import percentiles
from fer_edge.benchmarks.measure.timing import Call, Samples

_NS = 1_000_000_000

POLICY = (
    "Stream: frame k arrives at start + k/hz; the latest frame wins, older ones that wait are "
    "dropped. Age runs from a frame's arrival to its answer. A frame misses its deadline (one "
    "period unless set) when its answer comes later than that or never. Jitter is the standard "
    "deviation of the time between answers. Percentiles are of the age of answered frames. "
    "Variants run one after the other."
)


@dataclass(frozen=True)
class Answered:
    """The frames that were answered out of ``frames``, times in ns since the first arrival."""

    frames: int
    period_ns: float
    index: npt.NDArray[np.int64]
    begun_ns: npt.NDArray[np.int64]
    done_ns: npt.NDArray[np.int64]

    @property
    def arrival_ns(self) -> npt.NDArray[np.int64]:
        return np.asarray(np.rint(self.index * self.period_ns), np.int64)

    @property
    def age_ns(self) -> npt.NDArray[np.int64]:
        """Of each answered frame when its answer is there."""
        return self.done_ns - self.arrival_ns


def run_stream(
    call: Call,
    hz: float,
    frames: int,
    *,
    now_ns: Callable[[], int] = time.monotonic_ns,
    sleep_s: Callable[[float], None] = time.sleep,
    step: Callable[[int, int], None] = lambda done, total: None,
) -> Answered:
    """Feed ``frames`` frames at ``hz`` to ``call``; each arrival is on an absolute schedule.

    Sleeping late or answering late never moves a later arrival. now_ns: a monotonic clock.
    """
    if not 0 < hz <= 10_000:
        raise InputError(f"expected a rate between 0 and 10,000 Hz, got {hz:g}")
    period_ns = _NS / hz
    start = now_ns()
    answered: list[tuple[int, int, int]] = []
    following = 0
    while following < frames:
        arrival = start + round(following * period_ns)
        while (wait := arrival - now_ns()) > 0:
            sleep_s(wait / _NS)
        # The newest of those that have arrived; the camera stops after the last frame.
        begun = now_ns()
        newest = min(int((begun - start) / period_ns), frames - 1)
        # Rounding: a frame whose arrival was slept for has arrived.
        newest = max(newest, following)
        call()
        answered.append((newest, begun - start, now_ns() - start))
        following = newest + 1
        step(following, frames)
    index, begun_ns, done_ns = np.array(answered, np.int64).reshape(-1, 3).T
    return Answered(frames, period_ns, index, begun_ns, done_ns)


def stream_row(
    variant: str, cameras: int, hz: float, answered: Answered, deadline_ms: float | None = None
) -> dict[str, Any]:
    """Figures of one stream; see POLICY. deadline_ms: from arrival to answer, None is a period."""
    deadline_ns = answered.period_ns if deadline_ms is None else deadline_ms * 1e6
    age_ns = answered.age_ns
    on_time = int((age_ns <= deadline_ns).sum())
    return {
        "variant": variant,
        "batch": cameras,
        "hz": hz,
        "deadline_ms": deadline_ns / 1e6,
        "frames": answered.frames,
        **percentiles(Samples(age_ns)),
        "missed": answered.frames - on_time,
        "miss_rate": 1 - on_time / answered.frames,
        "dropped": answered.frames - len(age_ns),
        "drop_rate": 1 - len(age_ns) / answered.frames,
        "jitter_ms": float(np.std(np.diff(answered.done_ns))) / 1e6 if len(age_ns) > 1 else 0.0,
        "age_max_ms": float(age_ns.max()) / 1e6,
        "busy": float((answered.done_ns - answered.begun_ns).sum() / max(answered.done_ns[-1], 1)),
    }
