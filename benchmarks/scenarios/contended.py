"""The same calls while other work loads every core, in turns with calls on the idle machine."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np

from fer_edge.benchmarks.job import Job
from fer_edge.benchmarks.measure.percentile_ratio import percentile_ratio
from fer_edge.benchmarks.measure.rows import percentiles
from fer_edge.benchmarks.measure.timing import MIN_SAMPLES, Call, Samples
from fer_edge.machine import usable_cores

_BLOCK = 48
_SETTLE_S = 0.1
"""The scheduler needs a moment to spread the load, and the engine one to be alone again."""
# Bigger than a core's L2 cache, so that memory bandwidth is contended as well.
_LOAD = "import numpy as np; a = np.ones(4_000_000)\nwhile True: a *= 1.0000001"

METHOD = (
    "Contended: one process for each core streams 32 MB through the cache while the calls are "
    "timed, in turns with calls while those processes are stopped. Slower by: ratio of the "
    "percentiles with a 95 % interval."
)


def contended(job: Job) -> dict[str, Any]:
    """Two rows for each variant and batch size: ``alone`` and ``contended``."""
    rows = []
    with load(usable_cores()) as switch:
        for batch in job.batch_sizes:
            crops = job.crops(batch)
            for name, predictor in job.predictors.items():
                call = partial(predictor.predict_batch, crops)
                seen = partial(job.step, f"contended {name}")
                share_s = job.budget_s / len(job.predictors)
                taken = in_turns(call, switch, share_s, step=seen)
                for state, samples in taken.items():
                    row = {"variant": name, "batch": batch, "state": state, **percentiles(samples)}
                    row["slower_by"] = {
                        f"p{q:g}": dict(zip(("ratio", "low", "high"), found, strict=True))
                        for q in (50, 99)
                        if not samples.missing(q)
                        and not taken["alone"].missing(q)
                        and (found := percentile_ratio(samples.ns, taken["alone"].ns, q))
                    }
                    rows.append(row)
    return {"rows": rows, "load_processes": usable_cores(), "method": METHOD}


def in_turns(
    call: Call,
    switch: Callable[[bool], None],
    budget_s: float,
    *,
    now_ns: Callable[[], int] = time.perf_counter_ns,
    step: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Samples]:
    """Time blocks of calls with the load switched off and on, until the p99 is carried or the
    budget is spent."""
    taken: dict[str, list[int]] = {"alone": [], "contended": []}
    began = now_ns()
    wanted = -(-MIN_SAMPLES[99] // _BLOCK) * _BLOCK
    while len(taken["alone"]) < wanted:
        for state, values in taken.items():
            switch(state == "contended")
            call()
            for _ in range(_BLOCK):
                start = now_ns()
                call()
                values.append(now_ns() - start)
        step(len(taken["alone"]), wanted)
        if now_ns() - began > budget_s * 1e9:
            break
    return {state: Samples(np.array(values, np.int64)) for state, values in taken.items()}


@contextmanager
def load(processes: int) -> Iterator[Callable[[bool], None]]:
    """Processes that load a core each, and the switch that lets them run or stops them."""
    import psutil

    children = [psutil.Popen([sys.executable, "-c", _LOAD]) for _ in range(processes)]

    def switch(on: bool) -> None:
        for child in children:
            if on:
                child.resume()
            else:
                child.suspend()
        time.sleep(_SETTLE_S)

    try:
        yield switch
    finally:
        for child in children:
            child.kill()
        for child in children:
            child.wait()
