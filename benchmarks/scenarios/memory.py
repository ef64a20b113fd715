"""Scenario ``memory``: resident memory of a variant in its own process.

The child process is this module:

    python -m fer_edge.benchmarks.scenarios.memory BUNDLE TARGET PRECISION BATCH BUDGET_S

It answers lines of ``calls rss_bytes peak_rss_bytes``.
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryFile
from typing import Annotated, Any, TypedDict

import numpy as np

from fer_edge import EngineError, Predictor
from fer_edge.benchmarks.fields import Count, Row, RssBytes
from fer_edge.benchmarks.job import CROP_PX, Job, Run, noise
from fer_edge.benchmarks.measure import metrics
from fer_edge.benchmarks.measure.cells import ReportRow, megabytes, number
from fer_edge.benchmarks.scenarios.base import Scenario
from fer_edge.child import answer, answer_on, end_with_parent, python_command

_LINES = 50
"""Readings in a run: enough for a slope, few enough not to disturb it."""
_MIN_CALLS = 1_000
"""Least calls in the second half for a slope: before, allocators still fill their pools."""

METHOD = (
    "Memory: each variant in a process of its own that loads nothing but the package. "
    "Resident set at the end, its peak, and growth per 100,000 calls: the Theil-Sen slope over "
    "the second half of the calls."
)


class MemoryFigures(TypedDict):
    """Memory of a process after its calls."""

    calls: Annotated[Count, "Calls made."]
    rss_bytes: RssBytes
    peak_rss_bytes: Annotated[Count, "Highest resident memory in bytes."]
    growth_bytes_per_100k_calls: Annotated[
        float | None, "Slope over the second half of the calls; null: too few calls."
    ]


class MemoryRow(Row, MemoryFigures):
    """Row of a variant at one batch size."""


def _run(job: Job) -> dict[str, Any]:
    rows: list[MemoryRow] = []
    for run in job.runs("memory of"):
        figures = memory_figures(_readings(job, run))
        rows.append({"variant": run.variant, "batch": run.batch, **figures})
    return {"rows": rows, "method": METHOD}


def _readings(job: Job, run: Run) -> list[list[int]]:
    """Return the readings of a child process."""
    command = python_command("-m", "fer_edge.benchmarks.scenarios.memory", str(job.bundle))
    command += [*run.target_and_precision, str(run.batch), str(run.budget_s)]
    readings = []
    # A file: nobody reads a pipe meanwhile, and a child that fills one waits forever.
    with TemporaryFile() as log:
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=log, encoding="utf-8", errors="replace"
        ) as child:
            assert child.stdout is not None
            try:
                for line in child.stdout:
                    if (text := answer_on(line)) is not None:
                        readings.append([int(part) for part in text.split()])
                        run.step(min(len(readings), _LINES), _LINES)
            except BaseException:
                child.kill()
                raise
        log.seek(0)
        errors = log.read().decode("utf-8", "replace").strip().splitlines()
    if child.returncode != 0 or not readings:
        reason = errors[-1] if errors else "no message"
        raise EngineError(f"a fresh process could not run {run.variant}: {reason}")
    return readings


def memory_figures(readings: Sequence[Sequence[int]]) -> MemoryFigures:
    """Return the memory figures of readings ``(calls, rss_bytes, peak_rss_bytes)``.

    Growth is the Theil-Sen slope (the median of all pairwise slopes) over the second half of the
    calls. An engine's pools fill during the first half, and single jumps are not a leak. The
    growth is None if the second half has fewer than 1,000 calls.
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


def _growth(row: ReportRow) -> str:
    growth = row["growth_bytes_per_100k_calls"]
    return "n/a (too few calls)" if growth is None else f"{growth / 1e6:+.2f}"


SCENARIO = Scenario(
    help="Resident memory of a variant in a process of its own: its end, peak and growth.",
    run=_run,
    batch_sizes=(1,),
    row=MemoryRow,
    columns={
        "calls": number("calls", ",d"),
        "resident MB": megabytes("rss_bytes"),
        "peak MB": megabytes("peak_rss_bytes"),
        "MB per 100,000 calls": _growth,
    },
    metrics={
        "rss": metrics.RSS,
        "peak": metrics.memory_bytes("peak_rss_bytes"),
        "growth": metrics.memory_bytes("growth_bytes_per_100k_calls"),
    },
)


def main() -> None:
    """Call until the budget is spent, and print evenly spaced readings."""
    import psutil

    end_with_parent()
    bundle, target, precision, batch, budget_s = sys.argv[1:]
    process = psutil.Process()
    with Predictor(bundle, target, precision) as predictor:
        crops = noise(int(batch), CROP_PX)
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
            answer(f"{calls} {info.rss} {_peak_bytes(info)}")


def _peak_bytes(info: Any) -> int:
    """Return the process' highest resident set so far."""
    if sys.platform == "win32":
        return int(info.peak_wset)
    if sys.platform == "linux" and (own := _high_water_bytes()) is not None:
        return own
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak if sys.platform == "darwin" else peak * 1024)  # kB on Linux


def _high_water_bytes() -> int | None:
    """Return the peak that Linux reports for this program alone.

    ``ru_maxrss`` starts at the memory of the process that started this one.
    """
    try:
        status = Path("/proc/self/status").read_text("ascii", "replace")
    except OSError:
        return None
    match = re.search(r"^VmHWM:\s*(\d+) kB$", status, re.MULTILINE)
    return None if match is None else int(match[1]) * 1024


if __name__ == "__main__":
    main()
