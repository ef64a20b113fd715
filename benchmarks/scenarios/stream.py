"""Scenario ``stream``: a camera at a fixed rate.

Follows the constant stream of MLPerf Automotive (fixed arrival rate, p99.9), with the policy of a
driver monitor: **the latest frame wins**. A free engine takes the newest frame that has arrived;
older waiting frames are dropped, never queued.
"""

from __future__ import annotations

import time
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt

from fer_edge import InputError
from fer_edge.benchmarks.bounds import MAX_HZ, MIN_HZ
from fer_edge.benchmarks.fields import Count, Row
from fer_edge.benchmarks.job import Job
from fer_edge.benchmarks.machine import energy
from fer_edge.benchmarks.measure import metrics
from fer_edge.benchmarks.measure.cells import P50, P99, P99_9, number
from fer_edge.benchmarks.measure.rows import Percentiles, percentiles
from fer_edge.benchmarks.measure.share_difference import by_part
from fer_edge.benchmarks.measure.timing import MIN_SAMPLES, Call, Samples, run_warm_up
from fer_edge.benchmarks.scenarios.base import Scenario

_NS = 1_000_000_000
_MOST_FRAMES = 100_000_000
"""Frames whose times fit into memory: 38 days at 30 Hz take 2.5 GB, and 5.2 GB for a row."""
_WARM_UP = 10
"""Calls before the first frame, if the budget has time for them."""

POLICY = (
    "Stream: frame k arrives at start + k/hz; the latest frame wins, older waiting frames are "
    "dropped. Age runs from a frame's arrival to its answer. A frame misses its deadline (one "
    "period unless set) if its answer comes later or never. Jitter is the standard "
    "deviation of the time between answers. Percentiles are of the age of answered frames. "
    "Variants run one after the other."
)


class StreamRow(Row, Percentiles, energy.Energy):
    """Row of a variant and a number of cameras."""

    hz: Annotated[float, "Frames per second of each camera."]
    deadline_ms: Annotated[float, "Deadline in ms from a frame's arrival to its answer."]
    frames: Annotated[Count, "Frames that arrived."]
    missed: Annotated[Count, "Frames answered after the deadline, or dropped."]
    miss_rate: Annotated[float, "Share (0..1) of the frames that were missed."]
    dropped: Annotated[Count, "Frames replaced by a newer one before a call took them."]
    drop_rate: Annotated[float, "Share (0..1) of the frames that were dropped."]
    missed_by_part: Annotated[list[Count], "Missed frames in each of 24 equal parts of the stream."]
    dropped_by_part: Annotated[list[Count], "Dropped frames in each of these parts."]
    jitter_ms: Annotated[
        float | None,
        "Standard deviation of the time between answers in ms; null with fewer than 24 answers.",
    ]
    age_max_ms: Annotated[float | None, "Largest age of a frame when it was answered, in ms."]
    busy: Annotated[float, "Share (0..1) of the time in which a call ran."]


@dataclass(frozen=True)
class Answered:
    """Answered frames of a stream.

    Attributes:
        frames: Frames that arrived.
        period_ns: Time between two arrivals in ns.
        index: Number of each answered frame, int64 ``[N]``.
        begun_ns: Start of each call in ns since the first arrival, int64 ``[N]``.
        done_ns: End of each call in ns since the first arrival, int64 ``[N]``.
    """

    frames: int
    period_ns: float
    index: npt.NDArray[np.int64]
    begun_ns: npt.NDArray[np.int64]
    done_ns: npt.NDArray[np.int64]

    @property
    def arrival_ns(self) -> npt.NDArray[np.int64]:
        """Arrival of each answered frame in ns since the first arrival."""
        return np.asarray(np.rint(self.index * self.period_ns), np.int64)

    @property
    def age_ns(self) -> npt.NDArray[np.int64]:
        """Age in ns of each answered frame when its call ended."""
        return self.done_ns - self.arrival_ns


def _run(job: Job) -> dict[str, Any]:
    rows: list[StreamRow] = []
    for run in job.runs("stream"):
        frames = max(int(run.budget_s * job.hz), 1)
        call = partial(run.predictor.predict_batch, run.crops)
        run_warm_up(call, _WARM_UP, run.budget_s)
        step = partial(job.step, f"{run.variant} x {run.batch} at {job.hz:g} Hz")
        with energy.Meter() as meter:
            answered = run_stream(call, job.hz, frames, step=step)
            spent_j = meter.joules()
        rows.append(stream_row(run.variant, run.batch, job.hz, answered, job.deadline_ms, spent_j))
    return {"rows": rows, "method": f"{POLICY} {energy.METHOD}"}


def run_stream(
    call: Call,
    hz: float,
    frames: int,
    *,
    now_ns: Callable[[], int] = time.monotonic_ns,
    sleep_s: Callable[[float], None] = time.sleep,
    step: Callable[[int, int], None] = lambda done, total: None,
) -> Answered:
    """Feed frames to a callable on an absolute schedule.

    A late wake-up or answer never moves a later arrival.

    Args:
        call: Callable to time.
        hz: Frames per second, 0.001 to 10,000.
        frames: Number of frames.
        now_ns: Monotonic clock in ns.
        sleep_s: Sleeps for seconds.
        step: Progress callback.

    Returns:
        The answered frames.

    Raises:
        InputError: The rate is out of range, or the frames are too many to keep.
    """
    if not MIN_HZ <= hz <= MAX_HZ:
        raise InputError(f"expected a rate from {MIN_HZ:g} to {MAX_HZ:,.0f} Hz, got {hz:g}")
    if frames > _MOST_FRAMES:
        raise InputError(
            f"expected a stream of up to {_MOST_FRAMES:,} frames, got {frames:,} at {hz:g} Hz. "
            "Lower --hz or --budget-s"
        )
    period_ns = _NS / hz
    start = now_ns()
    index, begun_ns, done_ns = array("q"), array("q"), array("q")
    following = 0
    while following < frames:
        arrival = start + round(following * period_ns)
        while (wait := arrival - now_ns()) > 0:
            sleep_s(wait / _NS)
        # Take the newest frame that has arrived; the camera stops after the last one.
        begun = now_ns()
        newest = min(int((begun - start) / period_ns), frames - 1)
        # Rounding must not undo the arrival that the loop has just waited for.
        newest = max(newest, following)
        call()
        done_ns.append(now_ns() - start)
        begun_ns.append(begun - start)
        index.append(newest)
        following = newest + 1
        step(following, frames)
    # The arrays share the memory of the columns.
    columns = (np.asarray(column, np.int64) for column in (index, begun_ns, done_ns))
    return Answered(frames, period_ns, *columns)


def stream_row(
    variant: str,
    cameras: int,
    hz: float,
    answered: Answered,
    deadline_ms: float | None = None,
    energy_j: float | None = None,
) -> StreamRow:
    """Return the row of a stream; see POLICY.

    Args:
        variant: Name, ``TARGET/PRECISION``.
        cameras: Cameras that tick together.
        hz: Frames per second of each camera.
        answered: Result of ``run_stream``.
        deadline_ms: Milliseconds from a frame's arrival to its answer; None means one period.
        energy_j: Joules spent.
    """
    deadline_ns = answered.period_ns if deadline_ms is None else deadline_ms * 1e6
    age_ns = answered.age_ns
    missed, dropped = np.ones((2, answered.frames), np.bool_)
    missed[answered.index[age_ns <= deadline_ns]] = False
    dropped[answered.index] = False
    return {
        "variant": variant,
        "batch": cameras,
        "hz": hz,
        "deadline_ms": deadline_ns / 1e6,
        "frames": answered.frames,
        **percentiles(Samples(age_ns)),
        "missed": int(missed.sum()),
        "miss_rate": float(missed.mean()),
        "missed_by_part": by_part(missed),
        "dropped": int(dropped.sum()),
        "drop_rate": float(dropped.mean()),
        "dropped_by_part": by_part(dropped),
        "jitter_ms": _jitter_ms(answered.done_ns),
        "age_max_ms": float(age_ns.max()) / 1e6,
        "busy": float((answered.done_ns - answered.begun_ns).sum() / max(answered.done_ns[-1], 1)),
        "faces": len(age_ns) * cameras,
        "energy_j": energy_j,
    }


def _jitter_ms(done_ns: npt.NDArray[np.int64]) -> float | None:
    return float(np.std(np.diff(done_ns))) / 1e6 if len(done_ns) >= MIN_SAMPLES[50] else None


SCENARIO = Scenario(
    help="A camera at a fixed rate: frames answered in time, and their age.",
    run=_run,
    batch_sizes=(1,),
    row=StreamRow,
    columns={
        "Hz": number("hz", "g"),
        "frames": number("frames", ",d"),
        "missed": number("miss_rate", ".2%"),
        "dropped": number("drop_rate", ".2%"),
        "jitter ms": number("jitter_ms", ".3f"),
        "age p50 ms": P50,
        "p99 ms": P99,
        "p99.9 ms": P99_9,
        "max ms": number("age_max_ms", ".3f"),
    },
    metrics={
        **metrics.PERCENTILES,
        "jitter": metrics.milliseconds("jitter_ms", "samples"),
        "age": metrics.milliseconds("age_max_ms", "samples"),
        "misses": metrics.share("miss_rate", "frames"),
        "drops": metrics.share("drop_rate", "frames"),
    },
    rate=True,
)
