"""Scenario ``offline``: throughput with several requests in flight (MLPerf's Offline)."""

from __future__ import annotations

import time
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Annotated, Any

import numpy as np

from fer_edge import Predictor
from fer_edge.benchmarks.fields import Count, Row, ThroughputHz
from fer_edge.benchmarks.job import Job, Run
from fer_edge.benchmarks.machine import energy
from fer_edge.benchmarks.measure import metrics
from fer_edge.benchmarks.measure.cells import FACES_PER_S, P50, P99, number
from fer_edge.benchmarks.measure.rows import Percentiles, percentiles
from fer_edge.benchmarks.measure.timing import MIN_SAMPLES, Samples
from fer_edge.benchmarks.scenarios.base import Scenario
from fer_edge.cores import usable_cores

MLPERF_FACES = 24_576
"""Least samples of MLPerf's Offline scenario."""
_DISTINCT = 512
"""Number of distinct crops in a cycle: too many for the cache."""

METHOD = (
    f"Offline: faces per second of wall time over at least {MLPERF_FACES:,} faces (MLPerf's least "
    "number) and the requests that a p99 needs, or what the budget allowed. The Predictor is in "
    "throughput mode, with one request more in flight than there are usable cores. Latencies are "
    "of one request among the others."
)


class OfflineRow(Row, Percentiles, energy.Energy):
    """Row of a variant at one batch size."""

    in_flight: Annotated[Count, "Requests in flight."]
    throughput_hz: ThroughputHz


def _run(job: Job) -> dict[str, Any]:
    rows: list[OfflineRow] = []
    for run in job.runs("offline"):
        target, precision = run.target_and_precision
        with Predictor(job.bundle, target, precision, hint="throughput") as predictor:
            rows.append(_row(job, run, predictor))
    return {"rows": rows, "method": f"{METHOD} {energy.METHOD}"}


def _row(job: Job, run: Run, predictor: Predictor) -> OfflineRow:
    batch = run.batch
    crops = job.crops(max(_DISTINCT // batch, 1) * batch)
    chunks = [crops[i : i + batch] for i in range(0, len(crops), batch)]
    in_flight = usable_cores() + 1

    def request(number: int) -> int:
        start = time.perf_counter_ns()
        predictor.predict_batch(chunks[number % len(chunks)])
        return time.perf_counter_ns() - start

    request(0)
    required = max(-(-MLPERF_FACES // batch), MIN_SAMPLES[99], job.samples)
    ns: list[int] = []
    with ThreadPoolExecutor(in_flight) as pool, energy.Meter() as meter:
        began = time.perf_counter_ns()
        pending: set[Future[int]] = {pool.submit(request, i) for i in range(in_flight)}
        sent = in_flight
        while pending:
            done, pending = wait(pending, return_when=FIRST_COMPLETED)
            ns += [future.result() for future in done]
            spent_s = (time.perf_counter_ns() - began) / 1e9
            while sent < required and spent_s < run.budget_s and len(pending) < in_flight:
                pending.add(pool.submit(request, sent))
                sent += 1
            run.step(min(len(ns), required), required)
        wall_s = (time.perf_counter_ns() - began) / 1e9
        spent_j = meter.joules()
    return {
        "variant": run.variant,
        "batch": batch,
        **percentiles(Samples(np.array(ns, np.int64))),
        "faces": len(ns) * batch,
        "in_flight": in_flight,
        "throughput_hz": len(ns) * batch / wall_s,
        "energy_j": spent_j,
    }


SCENARIO = Scenario(
    help="Throughput of requests in flight at full speed, up to MLPerf's 24,576 faces.",
    run=_run,
    batch_sizes=(32,),
    row=OfflineRow,
    columns={
        "faces": number("faces", ",d"),
        "in flight": number("in_flight", "d"),
        "faces/s": FACES_PER_S,
        "p50 ms": P50,
        "p99 ms": P99,
    },
    metrics={**metrics.PERCENTILES, "throughput": metrics.THROUGHPUT},
)
