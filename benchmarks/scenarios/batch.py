"""Scenario ``batch``: latency and throughput by batch size, and cold starts."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Annotated, Any, TypedDict

import numpy as np

from fer_edge import open_bundle
from fer_edge.benchmarks.fields import MedianMs, Ratio, ThroughputHz
from fer_edge.benchmarks.job import Job
from fer_edge.benchmarks.measure import metrics
from fer_edge.benchmarks.measure.cells import FACES_PER_S, P50, P90, P99, Cell, ReportRow
from fer_edge.benchmarks.measure.rows import LatencyRow, latency_row
from fer_edge.benchmarks.measure.steady import METHOD
from fer_edge.benchmarks.measure.timing import MIN_SAMPLES, Call, Samples, interleaved
from fer_edge.benchmarks.references.baselines import speedups
from fer_edge.benchmarks.references.device_clock import DeviceMs, device_ms
from fer_edge.benchmarks.references.in_child import ChildReference
from fer_edge.benchmarks.references.vendor_tools import TOOLS, Reported
from fer_edge.benchmarks.scenarios.base import Scenario
from fer_edge.benchmarks.scenarios.coldstart import ColdStart, cold_start

_SAMPLES = 700
"""Samples of each variant: enough for a p99 (662)."""
_ALONE_SAMPLES, _ALONE_SHARE = 96, 0.1
"""Samples of each call without turns, and their share (0..1) of the budget."""
_ALONE_LEAST_S = 2.0
"""Seconds that a call without turns may take, if that is no more than its part of the budget."""
_SPLIT_CALLS, _SPLIT_SHARE = 20, 0.25
"""Most calls whose medians give the three parts, and their share (0..1) of the budget."""


class SplitMs(TypedDict):
    """Parts of a call."""

    preprocess: MedianMs
    infer: MedianMs
    postprocess: MedianMs


class ToolFigures(TypedDict):
    """Figures of the engine's own benchmark tool."""

    name: Annotated[str, "benchmark_app or trtexec."]
    p50_ms: Annotated[float, "Mean of two runs: one before these samples and one after them."]
    throughput_hz: ThroughputHz


class Details(TypedDict, total=False):
    """Further figures of a row, each if it was measured."""

    split_ms: SplitMs
    device_ms: Annotated[DeviceMs, "Times on a GPU, by its own clock."]
    speedup: Annotated[dict[str, Ratio], "By baseline: its median over this one."]
    tool: ToolFigures
    alone_p50_ms: Annotated[float, "Median in ms without turns, right after the turns."]


class BatchRow(LatencyRow, Details):
    """Row of a variant or reference at one batch size."""

    reference: Annotated[bool, "True for torch and --against: not a variant of the bundle."]


def _run(job: Job) -> dict[str, Any]:
    rows = in_turns(job, _SAMPLES)
    starts: dict[str, ColdStart] = {}
    for i, name in enumerate(job.predictors):
        job.step("cold start", i + 1, len(job.predictors))
        starts[name] = cold_start(job.bundle, name)
    return {"rows": rows, "cold_start": starts, "method": METHOD}


def in_turns(job: Job, samples: int) -> list[BatchRow]:
    """Time variants and references in turns until each has ``samples`` steady samples."""
    return [row for size in job.batch_sizes for row in _at_size(job, size, samples)]


def _at_size(job: Job, size: int, samples: int) -> list[BatchRow]:
    crops = job.crops(size)
    calls: dict[str, Call] = {
        name: partial(p.predict_batch, crops) for name, p in job.predictors.items()
    }
    for name, reference in job.references.items():
        ready = job.ready(size)
        calls[name] = (
            reference.at(ready.shape)
            if isinstance(reference, ChildReference)
            else partial(reference, ready)
        )
    step = partial(job.step, f"batch {size}")
    before = _tool_reports(job, size)
    latencies = interleaved(calls, samples, budget_s=job.budget_s, step=step)
    after = _tool_reports(job, size)
    alone = _alone_p50_ms(calls, latencies, job.budget_s)
    rows: list[BatchRow] = []
    for name, measured in latencies.items():
        details: Details = {}
        if name in job.predictors:
            left_s = _SPLIT_SHARE * job.budget_s / len(calls)
            details["split_ms"] = _split_ms(calls[name], left_s)
            if on_device := device_ms(job, name, size):
                details["device_ms"] = on_device
        if job.tool is not None and name in before:
            details["tool"] = _mean(job.tool, before[name], after[name])
        if ratios := speedups(name, latencies, job.references):
            details["speedup"] = ratios
        if name in alone:
            details["alone_p50_ms"] = alone[name]
        row = latency_row(name, size, measured)
        rows.append({**row, "reference": name in job.references, **details})
    return rows


def _alone_p50_ms(
    calls: Mapping[str, Call], in_turns: Mapping[str, Samples], budget_s: float
) -> dict[str, float]:
    """Time each call without turns, if it has neighbours that could disturb it.

    A call that is too slow for its share of the budget is left out.
    """
    part_s = budget_s / len(calls)
    share_s = _ALONE_SHARE * part_s
    alone: dict[str, float] = {}
    for name, call in calls.items():
        needed_s = MIN_SAMPLES[50] * float(np.median(in_turns[name].ns)) / 1e9
        if len(calls) < 2 or needed_s > max(share_s, min(_ALONE_LEAST_S, part_s)):
            continue
        samples = interleaved({name: call}, _ALONE_SAMPLES, warm_up=2, budget_s=share_s)[name]
        if (p50_ms := samples.percentile_ms(50)) is not None:
            alone[name] = p50_ms
    return alone


def _tool_reports(job: Job, size: int) -> dict[str, Reported]:
    """Run the engine's own tool on each variant that it supports."""
    if job.tool is None:
        return {}
    target, tool = TOOLS[job.tool]
    duration_s = max(job.budget_s / 4, 1)
    names = [name for name in job.predictors if name.startswith(f"{target}/")]
    reports = {}
    for i, variant in enumerate(v for v in open_bundle(job.bundle).variants if v.name in names):
        job.step(f"{job.tool}, batch {size}", i, len(names))
        reports[variant.name] = tool(job.bundle, variant, size, "latency", duration_s)
    return reports


def _mean(tool: str, before: Reported, after: Reported) -> ToolFigures:
    """Return the mean of the runs before and after ours, which cancels drift."""
    return {
        "name": tool,
        "p50_ms": (before.p50_ms + after.p50_ms) / 2,
        "throughput_hz": (before.hz + after.hz) / 2,
    }


def _split_ms(call: Callable[[], Any], budget_s: float) -> SplitMs:
    """Return the medians of the parts of up to _SPLIT_CALLS calls; of one if it takes too long."""
    deadline = time.monotonic() + budget_s
    times = [call()[0].times]
    while len(times) < _SPLIT_CALLS and time.monotonic() < deadline:
        times.append(call()[0].times)
    return {
        "preprocess": float(np.median([t.preprocess_ms for t in times])),
        "infer": float(np.median([t.infer_ms for t in times])),
        "postprocess": float(np.median([t.postprocess_ms for t in times])),
    }


def steady_cell(row: ReportRow) -> str:
    """Return the cell that tells where the steady state began."""
    if row["steady"] is None:
        return "n/a (too few samples)"
    return f"after {row['discarded']:,}" if row["steady"] else "not reached"


COLUMNS: dict[str, Cell] = {
    "p50 ms": P50,
    "p90 ms": P90,
    "p99 ms": P99,
    "faces/s": FACES_PER_S,
    "steady": steady_cell,
}

SCENARIO = Scenario(
    help="Latency and throughput by batch size, all variants in turns; one cold start of each.",
    run=_run,
    batch_sizes=(1, 8, 16, 32, 64),
    row=BatchRow,
    columns=COLUMNS,
    metrics={
        **metrics.TO_P99,
        "throughput": metrics.THROUGHPUT,
        "rss": metrics.RSS,
        "start": metrics.START,
    },
    parts={"cold_start": Annotated[dict[str, ColdStart], "One cold start of each variant."]},
    references=True,
)
