"""The scenarios that ``fer-edge bench --scenario`` chooses from; each gives parts of the report."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from fer_edge import EngineError, open_bundle
from fer_edge.benchmarks.job import Job
from fer_edge.benchmarks.machine import energy
from fer_edge.benchmarks.measure.rows import latency_row
from fer_edge.benchmarks.measure.steady import METHOD as STEADY
from fer_edge.benchmarks.measure.timing import Call, Samples, interleaved, ratio_interval
from fer_edge.benchmarks.references.device_clock import device_ms
from fer_edge.benchmarks.references.vendor_tools import TOOLS, Reported
from fer_edge.benchmarks.scenarios.contended import contended
from fer_edge.benchmarks.scenarios.memory import memory
from fer_edge.benchmarks.scenarios.offline import offline
from fer_edge.benchmarks.scenarios.stream import POLICY, run_stream, stream_row
from fer_edge.benchmarks.scenarios.sustained import sustained

TORCH_EAGER, TORCH_COMPILE = "torch eager fp32", "torch.compile"
BASELINES = (TORCH_EAGER, "onnxruntime/fp32")
_BATCH_SAMPLES = 700
"""Enough for a p99 at 99 % confidence (662)."""
_SINGLE_SAMPLES = 6_700
"""Enough for a p99.9 (6,636)."""
_WARM_UP = 10
_MIN_STARTS, _MAX_STARTS = 3, 24
COLD = (
    "Cold start: medians over fresh processes, the variants in turns, files in the page cache. "
    "Total: from starting the process to its end, interpreter included."
)


def batch(job: Job) -> dict[str, Any]:
    """Latency and throughput by batch size, all variants in turns; and one cold start of each."""
    rows = _in_turns(job, _BATCH_SAMPLES)
    starts = {}
    for i, name in enumerate(job.predictors):
        job.step("cold start", i + 1, len(job.predictors))
        starts[name] = cold_start(job.bundle, name)
    return {"rows": rows, "cold_start": starts, "method": STEADY}


def single(job: Job) -> dict[str, Any]:
    """One face after the other as fast as it goes (MLPerf's SingleStream), up to the p99.9."""
    return {"rows": _in_turns(job, _SINGLE_SAMPLES), "method": STEADY}


def stream(job: Job) -> dict[str, Any]:
    """A camera at a fixed rate; a batch of n faces stands for n cameras that tick together."""
    rows = []
    frames = max(int(job.budget_s / len(job.predictors) * job.hz), 2)
    for cameras in job.batch_sizes:
        crops = job.crops(cameras)
        for name, predictor in job.predictors.items():
            call = partial(predictor.predict_batch, crops)
            for _ in range(_WARM_UP):
                call()
            seen = partial(job.step, f"{name} x {cameras} at {job.hz:g} Hz")
            before = energy.counters()
            answered = run_stream(call, job.hz, frames, step=seen)
            spent_j = energy.joules(before, energy.counters())
            row = stream_row(name, cameras, job.hz, answered, job.deadline_ms)
            rows.append({**row, "faces": row["samples"] * cameras, "energy_j": spent_j})
    return {"rows": rows, "method": f"{POLICY} {energy.METHOD}"}


def coldstart(job: Job) -> dict[str, Any]:
    """Fresh processes, the variants in turns, until the budget is spent; at least three each."""
    taken: dict[str, list[dict[str, float]]] = {name: [] for name in job.predictors}
    began = time.monotonic()
    for repeat in range(1, _MAX_STARTS + 1):
        for name, found in taken.items():
            found.append(cold_start(job.bundle, name))
        spent_s = time.monotonic() - began
        job.step("cold starts", repeat, _MAX_STARTS)
        if repeat >= _MIN_STARTS and spent_s > job.budget_s:
            break
    rows = []
    for name, found in taken.items():
        medians = {key: float(np.median([one[key] for one in found])) for key in found[0]}
        longest = max(one["total_s"] for one in found)
        rows.append(
            {"variant": name, "batch": 1, "starts": len(found), **medians, "longest_s": longest}
        )
    return {"rows": rows, "method": COLD}


SCENARIOS: dict[str, tuple[Callable[[Job], dict[str, Any]], tuple[int, ...]]] = {
    "batch": (batch, (1, 8, 16, 32, 64)),
    "single": (single, (1,)),
    "stream": (stream, (1,)),
    "multistream": (stream, (8,)),
    "offline": (offline, (32,)),
    "sustained": (sustained, (1,)),
    "contended": (contended, (1,)),
    "memory": (memory, (1,)),
    "coldstart": (coldstart, (1,)),
}
"""The work of each scenario and its batch sizes where none are asked for."""


def _in_turns(job: Job, wanted: int) -> list[dict[str, Any]]:
    rows = []
    for size in job.batch_sizes:
        crops = job.crops(size)
        calls: dict[str, Call] = {
            name: partial(p.predict_batch, crops) for name, p in job.predictors.items()
        }
        for name, reference in job.references.items():
            calls[name] = partial(reference, job.ready(size))
        seen = partial(job.step, f"batch {size}")
        before = _told(job, size)
        taken = interleaved(calls, wanted, budget_s=job.budget_s, step=seen)
        after = _told(job, size)
        for name, samples in taken.items():
            row = {**latency_row(name, size, samples), "reference": name in job.references}
            if name in job.predictors:
                row["split_ms"] = _split_ms(calls[name])
                if on_device := device_ms(job, name, size):
                    row["device_ms"] = on_device
            if name in before:
                row["tool"] = _mean(job.tool, before[name], after[name])
            if speedup := _speedup(name, taken, {*BASELINES, *job.references}):
                row["speedup"] = speedup
            rows.append(row)
    return rows


def _told(job: Job, size: int) -> dict[str, Reported]:
    """What the engine's own tool says of each variant that it can run, by the variant's name."""
    if job.tool is None:
        return {}
    target, ask = TOOLS[job.tool]
    duration_s = max(job.budget_s / 4, 1)
    names = [name for name in job.predictors if name.startswith(f"{target}/")]
    told = {}
    for i, variant in enumerate(v for v in open_bundle(job.bundle).variants if v.name in names):
        job.step(f"{job.tool}, batch {size}", i, len(names))
        told[variant.name] = ask(job.bundle, variant, size, "latency", duration_s)
    return told


def _mean(tool: str | None, before: Reported, after: Reported) -> dict[str, Any]:
    """Of two runs, one before ours and one after it: drift of the machine hits both alike."""
    return {
        "name": tool,
        "p50_ms": (before.p50_ms + after.p50_ms) / 2,
        "throughput_hz": (before.hz + after.hz) / 2,
    }


def _split_ms(call: Callable[[], Any]) -> dict[str, float]:
    times = [call()[0].times for _ in range(20)]
    return {
        "preprocess": float(np.median([t.preprocess_ms for t in times])),
        "infer": float(np.median([t.infer_ms for t in times])),
        "postprocess": float(np.median([t.postprocess_ms for t in times])),
    }


def _speedup(
    name: str, taken: dict[str, Samples], baselines: set[str]
) -> dict[str, dict[str, float]]:
    found = {}
    for baseline in sorted(baselines & set(taken)):
        if baseline != name:
            ratio, low, high = ratio_interval(taken[baseline], taken[name])
            found[baseline] = {"ratio": ratio, "low": low, "high": high}
    return found


def cold_start(bundle: str | Path, variant: str) -> dict[str, float]:
    """Process start to first answer in a fresh process, in seconds, and its memory in bytes."""
    target, precision = variant.split("/")
    began = time.perf_counter()
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "fer_edge.benchmarks.scenarios.coldstart",
            str(bundle),
            target,
            precision,
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        said = done.stderr.strip().splitlines() or ["it said nothing"]
        raise EngineError(f"a fresh process could not run {variant}: {said[-1]}")
    total = time.perf_counter() - began
    return {"total_s": total, **json.loads(done.stdout)}
