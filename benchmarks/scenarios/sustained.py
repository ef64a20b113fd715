"""Scenario ``sustained``: the first minute of a long run against the last."""

from __future__ import annotations

import time
from array import array
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, NotRequired, TypedDict

import numpy as np

from fer_edge.benchmarks.fields import ClockMhz, Ratio, Row, TemperatureC
from fer_edge.benchmarks.job import Job
from fer_edge.benchmarks.machine import energy
from fer_edge.benchmarks.machine.environment import clock_mhz, temperature_c
from fer_edge.benchmarks.machine.nvml import GpuReading, gpus
from fer_edge.benchmarks.measure import cells, metrics
from fer_edge.benchmarks.measure.cells import P99, ReportRow, number
from fer_edge.benchmarks.measure.percentile_ratio import percentile_ratio
from fer_edge.benchmarks.measure.rows import Percentiles, percentiles
from fer_edge.benchmarks.measure.timing import Call, Samples
from fer_edge.benchmarks.scenarios.base import Scenario

_END_S = 60.0
"""Seconds at each end that are compared. A run under three minutes uses a third of its length."""
_POINTS = 120
"""Points of the timeline: one for each 15 s of half an hour."""

METHOD = (
    "Sustained: calls without a pause; the median of the last minute over that of the first (of "
    "thirds in a run under three minutes), with a 95 % interval. Clocks and temperatures, the "
    "system's and an NVIDIA GPU's, are read once for each point of the timeline, if available."
)


class TimelinePoint(TypedDict):
    """Part of the run."""

    at_s: Annotated[float, "Seconds since the start."]
    median_ms: Annotated[float, "Median latency of this part in ms."]
    clock_mhz: ClockMhz
    temperature_c: TemperatureC
    gpus: NotRequired[Annotated[list[GpuReading], "NVIDIA GPUs, in NVML's order."]]


class Sustained(Percentiles):
    """Figures of a long run."""

    duration_s: Annotated[float, "Length of the run in seconds."]
    end_s: Annotated[float, "Length of the first part and of the last part in seconds."]
    first_p50_ms: Annotated[float | None, "Median of the first part in ms; null: under 24 calls."]
    last_p50_ms: Annotated[float | None, "Median of the last part in ms; null: under 24 calls."]
    last_over_first: Ratio | None
    timeline: list[TimelinePoint]


class SustainedRow(Row, Sustained, energy.Energy):
    """Row of a variant at one batch size."""


def _run(job: Job) -> dict[str, Any]:
    rows: list[SustainedRow] = []
    for run in job.runs("sustained"):
        call = partial(run.predictor.predict_batch, run.crops)
        with energy.Meter() as meter:
            figures = run_sustained(call, run.budget_s, step=run.step)
            spent_j = meter.joules()
        rows.append(
            {
                "variant": run.variant,
                "batch": run.batch,
                "faces": figures["samples"] * run.batch,
                "energy_j": spent_j,
                **figures,
            }
        )
    return {"rows": rows, "method": f"{METHOD} {energy.METHOD}"}


def run_sustained(
    call: Call,
    duration_s: float,
    *,
    now_ns: Callable[[], int] = time.perf_counter_ns,
    step: Callable[[int, int], None] = lambda done, total: None,
) -> Sustained:
    """Call without a pause and compare both ends; see METHOD.

    Args:
        call: Callable to time.
        duration_s: Seconds to call for; at least 120 calls are made.
        now_ns: Monotonic clock in ns.
        step: Progress callback.
    """
    began = now_ns()
    every_ns = round(duration_s * 1e9 / _POINTS)
    # Eight bytes a number: a run may last for days.
    ns, ends = array("q"), array("q")
    timeline: list[TimelinePoint] = []
    for point in range(_POINTS):
        until = began + (point + 1) * every_ns
        done = len(ns)
        while True:
            start = now_ns()
            call()
            ended = now_ns()
            ns.append(ended - start)
            ends.append(ended - began)
            if ended >= until:
                break
        timeline.append(
            {
                "at_s": ends[-1] / 1e9,
                "median_ms": float(np.median(ns[done:])) / 1e6,
                "clock_mhz": clock_mhz(),
                "temperature_c": temperature_c(),
                "gpus": gpus(),
            }
        )
        step(point + 1, _POINTS)
    latencies, at_ns = np.frombuffer(ns, np.int64), np.frombuffer(ends, np.int64)
    end_ns = min(round(_END_S * 1e9), ends[-1] // 3)
    # The times only grow: both parts are views, not copies.
    first = Samples(latencies[: np.searchsorted(at_ns, end_ns, "right")])
    last = Samples(latencies[np.searchsorted(at_ns, ends[-1] - end_ns) :])
    return {
        **percentiles(Samples(latencies)),
        "duration_s": ends[-1] / 1e9,
        "end_s": end_ns / 1e9,
        "first_p50_ms": first.percentile_ms(50),
        "last_p50_ms": last.percentile_ms(50),
        "last_over_first": _over(last, first),
        "timeline": timeline,
    }


def _over(last: Samples, first: Samples) -> Ratio | None:
    if last.missing(50) or first.missing(50):
        return None
    ratio, low, high = percentile_ratio(last.ns, first.ns, 50)
    return {"ratio": ratio, "low": low, "high": high}


def ends(row: ReportRow, key: str, *, gpu: bool = False) -> str:
    """Return the cell of a sensor at both ends.

    Of several GPUs, the first one counts.
    """
    points = [row["timeline"][i] for i in (0, -1)]
    if gpu:  # without readings, a driver or a GPU was lost
        points = [(point.get("gpus") or [{}])[0] for point in points]
    first, last = (point.get(key) for point in points)
    return "n/a" if first is None or last is None else f"{first:.0f} to {last:.0f}"


SCENARIO = Scenario(
    help="Calls without a pause: the first minute against the last, with clocks and temperatures.",
    run=_run,
    batch_sizes=(1,),
    row=SustainedRow,
    columns={
        "minutes": lambda row: f"{row['duration_s'] / 60:.1f}",
        "first p50 ms": number("first_p50_ms", ".3f"),
        "last p50 ms": number("last_p50_ms", ".3f"),
        "last/first": lambda row: cells.ratio(row["last_over_first"]),
        "p99 ms": P99,
        "MHz": partial(ends, key="clock_mhz"),
        "C": partial(ends, key="temperature_c"),
    },
    metrics=metrics.PERCENTILES,
)
