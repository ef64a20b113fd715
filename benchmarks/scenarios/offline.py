"""As fast as it goes over a data set, several requests in flight (MLPerf's Offline)."""

from __future__ import annotations

import time
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any

import numpy as np

from fer_edge import Predictor
from fer_edge.benchmarks.job import Job
from fer_edge.benchmarks.machine import energy
from fer_edge.benchmarks.measure.rows import percentiles
from fer_edge.benchmarks.measure.timing import Samples
from fer_edge.machine import usable_cores

MLPERF_FACES = 24_576
"""Least number of samples of MLPerf's Offline scenario."""
_DISTINCT = 512
"""Distinct crops that are cycled through, so that the data do not sit in the cache."""

METHOD = (
    f"Offline: faces per second of wall time over at least {MLPERF_FACES:,} faces (MLPerf's least "
    "number) or what the budget allowed, the Predictor in throughput mode, one request more in "
    "flight than there are usable cores. Latencies are of one request among the others."
)


def offline(job: Job) -> dict[str, Any]:
    """One row for each variant and batch size, one after the other, the budget shared."""
    rows = []
    for batch in job.batch_sizes:
        for name in job.predictors:
            target, precision = name.split("/")
            with Predictor(job.bundle, target, precision, hint="throughput") as predictor:
                figures = _run(job, name, predictor, batch, job.budget_s / len(job.predictors))
            rows.append({"variant": name, "batch": batch, **figures})
    return {"rows": rows, "method": f"{METHOD} {energy.METHOD}"}


def _run(job: Job, name: str, predictor: Predictor, batch: int, budget_s: float) -> dict[str, Any]:
    crops = job.crops(max(_DISTINCT // batch, 1) * batch)
    chunks = [crops[i : i + batch] for i in range(0, len(crops), batch)]
    in_flight = usable_cores() + 1

    def one(number: int) -> int:
        start = time.perf_counter_ns()
        predictor.predict_batch(chunks[number % len(chunks)])
        return time.perf_counter_ns() - start

    one(0)
    wanted = -(-MLPERF_FACES // batch)
    ns: list[int] = []
    with ThreadPoolExecutor(in_flight) as pool:
        before, began = energy.counters(), time.perf_counter_ns()
        pending: set[Future[int]] = {pool.submit(one, i) for i in range(in_flight)}
        sent = in_flight
        while pending:
            done, pending = wait(pending, return_when=FIRST_COMPLETED)
            ns += [future.result() for future in done]
            spent_s = (time.perf_counter_ns() - began) / 1e9
            while sent < wanted and spent_s < budget_s and len(pending) < in_flight:
                pending.add(pool.submit(one, sent))
                sent += 1
            job.step(f"offline {name}", min(len(ns), wanted), wanted)
        wall_s = (time.perf_counter_ns() - began) / 1e9
    return {
        **percentiles(Samples(np.array(ns, np.int64))),
        "faces": len(ns) * batch,
        "in_flight": in_flight,
        "throughput_hz": len(ns) * batch / wall_s,
        "energy_j": energy.joules(before, energy.counters()),
    }
