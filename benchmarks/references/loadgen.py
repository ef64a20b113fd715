"""The official MLPerf LoadGen beside our own figures: SingleStream, MultiStream and Offline."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from fer_edge import FerEdgeError, InputError, MissingDependencyError, Predictor
from fer_edge.benchmarks.job import Job
from fer_edge.benchmarks.measure.timing import Call, Samples, interleaved

_DISTINCT = 512
_DRIVEN = ("single", "offline")
_FIGURES = {
    "p50_ms": (r"50\.00 percentile latency \(ns\)\s*:\s*(\d+)", 1e-6),
    "p90_ms": (r"90\.00 percentile latency \(ns\)\s*:\s*(\d+)", 1e-6),
    "throughput_hz": (r"Samples per second\s*:\s*([\d.e+]+)", 1.0),
}


def check_loadgen(scenario: str) -> Any:
    """The library's module, before anything is measured. Raises as ``loadgen`` does."""
    if scenario not in _DRIVEN:
        raise InputError(
            f"LoadGen drives {' and '.join(_DRIVEN)}, not {scenario}: it has no constant stream"
        )
    try:
        import mlperf_loadgen
    except ImportError as error:
        raise MissingDependencyError("mlcommons-loadgen", "loadgen") from error
    return mlperf_loadgen


def loadgen(job: Job, scenario: str, folder: Path) -> list[dict[str, Any]]:
    """Drive each variant and batch size with LoadGen for its share of the budget; its logs stay in
    ``folder``.

    scenario: ``single``, which is MLPerf's SingleStream, and with several faces a call its
    MultiStream; or ``offline``. ``valid`` is LoadGen's own verdict; a short budget makes it INVALID
    (MLPerf wants 600 s). Raises InputError for other scenarios, MissingDependencyError, and
    whatever the predictor raised.
    """
    lg = check_loadgen(scenario)
    rows: list[dict[str, Any]] = []
    runs = [(name, batch) for batch in job.batch_sizes for name in job.predictors]
    for i, (name, batch) in enumerate(runs):
        official = "Offline" if scenario == "offline" else _stream(batch)
        job.step(f"LoadGen {official}", i, len(runs))
        logs = folder / name.replace("/", "-") / official
        logs = logs if batch == 1 else logs.with_name(f"{official}-{batch}")
        try:
            logs.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"cannot write LoadGen's logs to {logs}: {error.strerror}") from error
        budget_s = job.budget_s / len(job.predictors)
        target, precision = name.split("/")
        hint: Literal["latency", "throughput"] = "latency" if scenario == "single" else "throughput"
        with Predictor(job.bundle, target, precision, hint=hint) as predictor:
            predict, crops = predictor.predict_batch, job.crops(_DISTINCT)
            ours = partial(_ours, partial(predict, crops[:batch]), budget_s / 4)
            before = ours() if scenario == "single" else None
            _drive(lg, official, predict, crops, batch, budget_s, logs)
            after = ours() if scenario == "single" else None
        summary = (logs / "mlperf_log_summary.txt").read_text("utf-8")
        row = {"variant": name, "batch": batch, **read_summary(summary), "logs": str(logs)}
        if before is not None and after is not None:
            both = Samples(np.concatenate([before.ns, after.ns]))
            row["our_p90_ms"] = both.percentile_ms(90)
        rows.append(row)
    job.step("LoadGen", len(runs), len(runs))
    return rows


def _ours(call: Call, budget_s: float) -> Samples:
    """The same calls in our own hands, right before and after: a machine's speed drifts."""
    return interleaved({"": call}, 1_000_000, budget_s=budget_s)[""]


def _stream(batch: int) -> str:
    return "SingleStream" if batch == 1 else "MultiStream"


def read_summary(text: str) -> dict[str, Any]:
    """Figures in LoadGen's ``mlperf_log_summary.txt``; None for those that it does not state."""
    found = {key: re.search(pattern, text) for key, (pattern, _) in _FIGURES.items()}
    return {
        "scenario": m[1] if (m := re.search(r"Scenario\s*:\s*(\S+)", text)) else None,
        "valid": bool(re.search(r"Result is\s*:\s*VALID", text)),
        **{key: float(m[1]) * _FIGURES[key][1] if m else None for key, m in found.items()},
    }


def _drive(
    lg: Any,
    official: str,
    predict: Callable[[list[Any]], object],
    crops: list[Any],
    batch: int,
    budget_s: float,
    logs: Path,
) -> None:
    failed: list[FerEdgeError] = []

    def issue(queries: list[Any]) -> None:
        for first in range(0, len(queries), batch):
            part = queries[first : first + batch]
            try:
                predict([crops[query.index] for query in part])
            except FerEdgeError as error:  # through LoadGen's C++ it would end the process
                failed.append(error)
            lg.QuerySamplesComplete([lg.QuerySampleResponse(query.id, 0, 0) for query in part])

    settings = lg.TestSettings()
    settings.mode = lg.TestMode.PerformanceOnly
    settings.scenario = getattr(lg.TestScenario, official)
    settings.min_duration_ms = round(1000 * budget_s)
    settings.max_duration_ms = 0
    calls_hz = _rate_hz(partial(predict, crops[:batch]))
    if official == "Offline":
        # LoadGen sends 1.1 x this x the duration in one query.
        settings.offline_expected_qps = calls_hz * batch
        settings.min_query_count = 1
    elif official == "MultiStream":
        settings.multi_stream_samples_per_query = batch
        settings.multi_stream_expected_latency_ns = round(1e9 / calls_hz)
        settings.min_query_count = 64
    else:
        settings.single_stream_expected_latency_ns = round(1e9 / calls_hz)
        settings.min_query_count = 64
    output = lg.LogOutputSettings()
    output.outdir = str(logs)
    output.copy_summary_to_stdout = False
    log = lg.LogSettings()
    log.log_output = output
    log.enable_trace = False
    system = lg.ConstructSUT(issue, lambda: None)
    library = lg.ConstructQSL(len(crops), len(crops), lambda samples: None, lambda samples: None)
    try:
        lg.StartTestWithLogSettings(system, library, settings, log)
    finally:
        lg.DestroyQSL(library)
        lg.DestroySUT(system)
    if failed:
        raise failed[0]


def _rate_hz(call: Callable[[], object]) -> float:
    """Calls per second, after one that is not counted: LoadGen wants to know what to expect."""
    call()
    start = time.perf_counter()
    for _ in range(5):
        call()
    return 5 / (time.perf_counter() - start)
