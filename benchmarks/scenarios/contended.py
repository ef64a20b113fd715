"""Scenario ``contended``: calls while other work loads every core, against calls alone."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Annotated, Any, Literal

import numpy as np

from fer_edge import EngineError
from fer_edge.benchmarks.fields import Count, Ratio, Row
from fer_edge.benchmarks.job import Job
from fer_edge.benchmarks.measure import cells, metrics
from fer_edge.benchmarks.measure.cells import P50, P90, P99, ReportRow
from fer_edge.benchmarks.measure.percentile_ratio import percentile_ratio
from fer_edge.benchmarks.measure.rows import Percentiles, percentiles
from fer_edge.benchmarks.measure.timing import MIN_SAMPLES, Call, Samples
from fer_edge.benchmarks.scenarios.base import Scenario
from fer_edge.child import python_command
from fer_edge.cores import usable_cores

_BLOCK = 48
_SETTLE_S = 0.1
"""Seconds until the load is spread, or the engine is alone again."""
# Larger than a core's L2 cache, so that memory bandwidth is contended as well.
# Ctrl-C reaches the parent too, which kills.
_LOAD = """
import signal
signal.signal(signal.SIGINT, signal.SIG_IGN)
from fer_edge.child import end_with_parent
import numpy as np
end_with_parent()
a = np.ones(4_000_000)
print("ready", flush=True)
while True:
    a *= 1.0000001
"""

METHOD = (
    "Contended: one process for each core streams 32 MB through the cache while the calls are "
    "timed, in turns with calls while those processes are stopped. Slower by: ratio of the "
    "percentiles with a 95 % interval."
)

State = Literal["alone", "contended"]


class ContendedRow(Row, Percentiles):
    """Row of a variant on the idle or the loaded machine."""

    state: State
    slower_by: Annotated[dict[str, Ratio], "By percentile: contended over alone; empty if alone."]


def _run(job: Job) -> dict[str, Any]:
    rows: list[ContendedRow] = []
    with load(usable_cores()) as switch:
        for run in job.runs("contended"):
            call = partial(run.predictor.predict_batch, run.crops)
            latencies = in_turns(call, switch, run.budget_s, step=run.step)
            switch(False)  # the load must have lasted to the end
            for state, samples in latencies.items():
                rows.append(
                    {
                        "variant": run.variant,
                        "batch": run.batch,
                        "state": state,
                        **percentiles(samples),
                        "slower_by": {}
                        if state == "alone"
                        else _slower_by(samples, latencies["alone"]),
                    }
                )
    return {"rows": rows, "load_processes": usable_cores(), "method": METHOD}


def _slower_by(samples: Samples, alone: Samples) -> dict[str, Ratio]:
    ratios: dict[str, Ratio] = {}
    for q in (50, 99):
        if not samples.missing(q) and not alone.missing(q):
            ratio, low, high = percentile_ratio(samples.ns, alone.ns, q)
            ratios[f"p{q}"] = {"ratio": ratio, "low": low, "high": high}
    return ratios


def in_turns(
    call: Call,
    switch: Callable[[bool], None],
    budget_s: float,
    *,
    now_ns: Callable[[], int] = time.perf_counter_ns,
    step: Callable[[int, int], None] = lambda done, total: None,
) -> dict[State, Samples]:
    """Time blocks of calls with the load off and on.

    Args:
        call: Callable to time.
        switch: Starts (True) or stops (False) the load.
        budget_s: Seconds after which no further block starts.
        now_ns: Monotonic clock in ns.
        step: Progress callback.

    Returns:
        Latencies alone and contended: enough for a p99, or fewer if the budget was spent.
    """
    latencies: dict[State, list[int]] = {"alone": [], "contended": []}
    began = now_ns()
    required = -(-MIN_SAMPLES[99] // _BLOCK) * _BLOCK
    while len(latencies["alone"]) < required:
        for state, values in latencies.items():
            switch(state == "contended")
            call()
            for _ in range(_BLOCK):
                start = now_ns()
                call()
                values.append(now_ns() - start)
        step(len(latencies["alone"]), required)
        if now_ns() - began > budget_s * 1e9:
            break
    return {state: Samples(np.array(values, np.int64)) for state, values in latencies.items()}


@contextmanager
def load(processes: int) -> Iterator[Callable[[bool], None]]:
    """Load one core with each process; yield the switch.

    The switch resumes or stops the processes. It raises EngineError if one of them has ended.
    """
    import psutil

    children: list[subprocess.Popen[bytes]] = []

    def switch(on: bool) -> None:
        for child in children:
            if child.poll() is not None:
                raise _ended(child)
            process = psutil.Process(child.pid)
            if on:
                process.resume()
            else:
                process.suspend()
        time.sleep(_SETTLE_S)

    try:
        for _ in range(processes):
            command = python_command("-c", _LOAD)
            children.append(subprocess.Popen(command, stdout=subprocess.PIPE))
        for child in children:
            assert child.stdout is not None
            if not child.stdout.readline():
                raise _ended(child)
        yield switch
    finally:
        for child in children:
            child.kill()
        for child in children:
            child.communicate()


def _ended(child: subprocess.Popen[bytes]) -> EngineError:
    return EngineError(
        f"a process that loads the cores ended with exit code {child.wait()}: the calls were not "
        "contended. Free memory, and run again: fer-edge bench --scenario contended"
    )


def _slower(row: ReportRow, percentile: str) -> str:
    ratio = row["slower_by"].get(percentile)
    return cells.ratio(ratio) if ratio else ""


SCENARIO = Scenario(
    help="Latency while other processes load every core, against the same calls alone.",
    run=_run,
    batch_sizes=(1,),
    row=ContendedRow,
    columns={
        "": lambda row: str(row["state"]),
        "p50 ms": P50,
        "p90 ms": P90,
        "p99 ms": P99,
        "p50 slower by": partial(_slower, percentile="p50"),
        "p99 slower by": partial(_slower, percentile="p99"),
    },
    metrics=metrics.TO_P99,
    parts={"load_processes": Annotated[Count, "Processes that loaded the cores."]},
)
