"""Scenario ``single``: one call after another (MLPerf's SingleStream), up to the p99.9."""

from __future__ import annotations

from typing import Any

from fer_edge.benchmarks.job import Job
from fer_edge.benchmarks.measure import metrics
from fer_edge.benchmarks.measure.cells import FACES_PER_S, P50, P90, P95, P99, P99_9
from fer_edge.benchmarks.measure.steady import METHOD
from fer_edge.benchmarks.scenarios.base import Scenario
from fer_edge.benchmarks.scenarios.batch import BatchRow, in_turns, steady_cell

_SAMPLES = 6_700
"""Samples of each variant: enough for a p99.9 (6,636)."""


def _run(job: Job) -> dict[str, Any]:
    return {"rows": in_turns(job, _SAMPLES), "method": METHOD}


SCENARIO = Scenario(
    help="Latency of one call after another at full speed, up to the p99.9.",
    run=_run,
    batch_sizes=(1,),
    row=BatchRow,
    columns={
        "p50 ms": P50,
        "p90 ms": P90,
        "p95 ms": P95,
        "p99 ms": P99,
        "p99.9 ms": P99_9,
        "faces/s": FACES_PER_S,
        "steady": steady_cell,
    },
    metrics={**metrics.PERCENTILES, "throughput": metrics.THROUGHPUT},
    references=True,
)
