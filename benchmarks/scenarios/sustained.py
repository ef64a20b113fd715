"""One minute's speed is not thirty minutes': the first minute against the last, with the clocks."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from typing import Any

import numpy as np

from fer_edge.benchmarks.job import Job
from fer_edge.benchmarks.machine import energy
from fer_edge.benchmarks.machine.environment import clock_mhz, temperature_c
from fer_edge.benchmarks.machine.nvml import gpus
from fer_edge.benchmarks.measure.percentile_ratio import percentile_ratio
from fer_edge.benchmarks.measure.rows import percentiles
from fer_edge.benchmarks.measure.timing import Call, Samples

_END_S = 60.0
"""Length of the two ends that are compared; a third of the run where it is shorter than that."""
_POINTS = 120
"""Points of the timeline: one for each 15 s of half an hour."""

METHOD = (
    "Sustained: calls without a pause; the median of the last minute over that of the first (of "
    "thirds in a run under three minutes), with a 95 % interval. Clocks and temperatures, the "
    "system's and an NVIDIA GPU's, are read once for each point of the timeline, where told."
)


def sustained(job: Job) -> dict[str, Any]:
    """One row for each variant and batch size, one after the other, the budget shared."""
    rows = []
    for batch in job.batch_sizes:
        crops = job.crops(batch)
        for name, predictor in job.predictors.items():
            call = partial(predictor.predict_batch, crops)
            seen = partial(job.step, f"sustained {name}")
            before = energy.counters()
            run = run_sustained(call, job.budget_s / len(job.predictors), step=seen)
            spent_j = energy.joules(before, energy.counters())
            faces = run["samples"] * batch
            row = {"variant": name, "batch": batch, "faces": faces, "energy_j": spent_j}
            rows.append({**row, **run})
    return {"rows": rows, "method": f"{METHOD} {energy.METHOD}"}


def run_sustained(
    call: Call,
    duration_s: float,
    *,
    now_ns: Callable[[], int] = time.perf_counter_ns,
    step: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Any]:
    """Call for ``duration_s`` and tell how the latency moved; see METHOD."""
    began = now_ns()
    every_ns = round(duration_s * 1e9 / _POINTS)
    ns: list[int] = []
    ends: list[int] = []
    timeline: list[dict[str, Any]] = []
    for point in range(_POINTS):
        until = began + (point + 1) * every_ns
        first = len(ns)
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
                "median_ms": float(np.median(ns[first:])) / 1e6,
                "clock_mhz": clock_mhz(),
                "temperature_c": temperature_c(),
                "gpus": [asdict(gpu) for gpu in gpus()],
            }
        )
        step(point + 1, _POINTS)
    taken, at_s = np.array(ns, np.int64), np.array(ends) / 1e9
    end_s = min(_END_S, float(at_s[-1]) / 3)
    first_part, last_part = taken[at_s <= end_s], taken[at_s >= at_s[-1] - end_s]
    if not len(first_part):  # one call outlasted a third of the run
        first_part = taken[:1]
    ratio, low, high = percentile_ratio(last_part, first_part, 50)
    return {
        **percentiles(Samples(taken)),
        "duration_s": float(at_s[-1]),
        "end_s": end_s,
        "first_p50_ms": float(np.median(first_part)) / 1e6,
        "last_p50_ms": float(np.median(last_part)) / 1e6,
        "last_over_first": {"ratio": ratio, "low": low, "high": high},
        "timeline": timeline,
    }
