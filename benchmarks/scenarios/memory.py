"""Memory of a variant in a process of its own: resident set, peak, and growth with the calls.

The scenario ``memory`` runs

    python -m fer_edge.benchmarks.scenarios.memory BUNDLE TARGET PRECISION
BATCH BUDGET_S; prints a line ``calls rss_bytes peak_rss_bytes`` now and then.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from fer_edge import EngineError, Predictor
from fer_edge.benchmarks.job import CROP_PX, Job

_LINES = 50
"""Readings in a run: enough for a slope, few enough not to disturb it."""
_MIN_CALLS = 1_000
"""Fewer calls carry no slope: allocators are still filling their pools."""

METHOD = (
    "Memory: each variant in a process of its own that has nothing else in it than the package. "
    "Resident set at the end, its peak, and growth per 100,000 calls: the Theil-Sen slope over "
    "the second half of the calls."
)


def memory(job: Job) -> dict[str, Any]:
    """One row for each variant and batch size; the budget is shared between the variants."""
    rows = []
    for batch in job.batch_sizes:
        for name in job.predictors:
            budget_s = job.budget_s / len(job.predictors)
            command = [
                sys.executable,
                "-m",
                "fer_edge.benchmarks.scenarios.memory",
                str(job.bundle),
            ]
            command += [*name.split("/"), str(batch), str(budget_s)]
            readings = []
            with subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
            ) as child:
                assert child.stdout is not None
                assert child.stderr is not None
                for line in child.stdout:
                    readings.append([int(part) for part in line.split()])
                    job.step(f"memory of {name}", min(len(readings), _LINES), _LINES)
                said = child.stderr.read().strip().splitlines()
            if child.returncode != 0 or not readings:
                why = said[-1] if said else "it said nothing"
                raise EngineError(f"a fresh process could not run {name}: {why}")
            rows.append({"variant": name, "batch": batch, **memory_figures(readings)})
    return {"rows": rows, "method": METHOD}


def memory_figures(readings: Sequence[Sequence[int]]) -> dict[str, Any]:
    """Figures of readings ``(calls, rss_bytes, peak_rss_bytes)``, the last one being the present.

    Growth is the Theil-Sen slope (the median of all pairwise slopes) over the second half of the
    calls: the pools of an engine fill during the first ones, and single jumps are not a leak. None
    where the half has fewer than 1,000 calls.
    """
    calls, rss, peak = np.array(readings, np.float64).T
    half = calls >= calls[-1] / 2
    x, y = calls[half], rss[half]
    i, j = np.triu_indices(len(x), 1)
    growth = None
    if x[-1] - x[0] >= _MIN_CALLS:
        growth = float(np.median((y[j] - y[i]) / (x[j] - x[i]))) * 100_000
    return {
        "calls": int(calls[-1]),
        "rss_bytes": int(rss[-1]),
        "peak_rss_bytes": int(peak.max()),
        "growth_bytes_per_100k_calls": growth,
    }


def main() -> None:
    """Call until the budget is spent, printing readings that are evenly spaced in time."""
    import psutil

    bundle, target, precision, batch, budget_s = sys.argv[1:]
    process = psutil.Process()
    with Predictor(bundle, target, precision) as predictor:
        crops = np.random.default_rng(0).integers(
            0, 256, (int(batch), CROP_PX, CROP_PX, 3), np.uint8
        )
        began = time.monotonic()
        calls = 0
        for line in range(1, _LINES + 1):
            until = began + float(budget_s) * line / _LINES
            while True:
                predictor.predict_batch(crops)
                calls += 1
                if time.monotonic() >= until:
                    break
            info = process.memory_info()
            print(calls, info.rss, _peak_bytes(info), flush=True)


def _peak_bytes(info: Any) -> int:
    """The process' highest resident set so far; the present one where the system keeps none."""
    if sys.platform == "win32":
        return int(info.peak_wset)
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak if sys.platform == "darwin" else peak * 1024)  # kB on Linux


if __name__ == "__main__":
    main()
