"""MLPerf's LoadGen on the same variants: SingleStream, MultiStream and Offline."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, NotRequired, TypedDict

import numpy as np

from fer_edge import FerEdgeError, InputError, MissingDependencyError, Predictor
from fer_edge.benchmarks.fields import Positive
from fer_edge.benchmarks.job import Job, Run
from fer_edge.benchmarks.measure.timing import Call, Samples, interleaved

_DISTINCT = 512
_DRIVEN = ("single", "offline")


class Summary(TypedDict):
    """Figures of LoadGen's summary; None for those that it does not state."""

    scenario: Annotated[str | None, "LoadGen's name of the scenario."]
    valid: Annotated[bool, "LoadGen's verdict; a short budget is INVALID (MLPerf requires 600 s)."]
    p50_ms: Annotated[float | None, "Median latency in ms."]
    p90_ms: Annotated[float | None, "90th percentile of the latency in ms."]
    throughput_hz: Annotated[float | None, "Samples per second."]


class LoadgenRow(Summary):
    """LoadGen's figures of a variant at one batch size."""

    variant: Annotated[str, "TARGET/PRECISION."]
    batch: Annotated[Positive, "Faces per call."]
    logs: Annotated[str, "Folder of LoadGen's logs."]
    our_p90_ms: NotRequired[
        Annotated[float | None, "Our p90 of the same calls, right before and after LoadGen."]
    ]


def check_loadgen(scenario: str) -> Any:
    """Import and return LoadGen's module.

    Raises:
        InputError: LoadGen does not drive this scenario.
        MissingDependencyError: LoadGen is not installed.
    """
    if scenario not in _DRIVEN:
        raise InputError(
            f"LoadGen drives {' and '.join(_DRIVEN)}, not {scenario}: it has no constant stream"
        )
    try:
        import mlperf_loadgen
    except ImportError as error:
        raise MissingDependencyError("mlcommons-loadgen", "loadgen") from error
    return mlperf_loadgen


def loadgen(job: Job, scenario: str, folder: Path) -> list[LoadgenRow]:
    """Drive each variant and batch size with LoadGen for its budget.

    Args:
        job: Variants to drive.
        scenario: ``single`` (MLPerf's SingleStream; with several faces per call its MultiStream)
            or ``offline``.
        folder: Folder for LoadGen's logs.

    Raises:
        InputError: LoadGen does not drive this scenario, or the logs cannot be written.
        MissingDependencyError: LoadGen is not installed.
        FerEdgeError: The predictor failed.
    """
    lg = check_loadgen(scenario)
    rows: list[LoadgenRow] = []
    total = len(job.batch_sizes) * len(job.predictors)
    for i, run in enumerate(job.runs("LoadGen")):
        official = "Offline" if scenario == "offline" else _stream(run.batch)
        job.step(f"LoadGen {official}", i, total)
        rows.append(_row(lg, job, run, official, _logs_folder(folder, run, official)))
    job.step("LoadGen", total, total)
    return rows


def _logs_folder(folder: Path, run: Run, official: str) -> Path:
    name = official if run.batch == 1 else f"{official}-{run.batch}"
    logs = folder / run.variant.replace("/", "-") / name
    try:
        logs.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"cannot write logs to {logs}: {error.strerror}. Choose another --loadgen-logs"
        ) from error
    return logs


def _row(lg: Any, job: Job, run: Run, official: str, logs: Path) -> LoadgenRow:
    streamed = official != "Offline"
    target, precision = run.target_and_precision
    hint: Literal["latency", "throughput"] = "latency" if streamed else "throughput"
    with Predictor(job.bundle, target, precision, hint=hint) as predictor:
        predict, crops = predictor.predict_batch, job.crops(_DISTINCT)
        ours = partial(_ours, partial(predict, crops[: run.batch]), run.budget_s / 4)
        before = ours() if streamed else None
        _drive(lg, official, predict, crops, run.batch, run.budget_s, logs)
        after = ours() if streamed else None
    summary = read_summary((logs / "mlperf_log_summary.txt").read_text("utf-8"))
    row: LoadgenRow = {
        "variant": run.variant,
        "batch": run.batch,
        "scenario": summary["scenario"],
        "valid": summary["valid"],
        "p50_ms": summary["p50_ms"],
        "p90_ms": summary["p90_ms"],
        "throughput_hz": summary["throughput_hz"],
        "logs": str(logs),
    }
    if before is not None and after is not None:
        both = Samples(np.concatenate([before.ns, after.ns]))
        row["our_p90_ms"] = both.percentile_ms(90)
    return row


def _ours(call: Call, budget_s: float) -> Samples:
    """Time the same calls ourselves, right before and after LoadGen: a machine's speed drifts."""
    return interleaved({"": call}, 1_000_000, budget_s=budget_s)[""]


def _stream(batch: int) -> str:
    return "SingleStream" if batch == 1 else "MultiStream"


def read_summary(text: str) -> Summary:
    """Parse LoadGen's ``mlperf_log_summary.txt``."""
    scenario = re.search(r"Scenario\s*:\s*(\S+)", text)
    return {
        "scenario": scenario[1] if scenario else None,
        "valid": bool(re.search(r"Result is\s*:\s*VALID", text)),
        "p50_ms": _figure(r"50\.00 percentile latency \(ns\)\s*:\s*(\d+)", text, 1e-6),
        "p90_ms": _figure(r"90\.00 percentile latency \(ns\)\s*:\s*(\d+)", text, 1e-6),
        "throughput_hz": _figure(r"Samples per second\s*:\s*([\d.e+]+)", text, 1.0),
    }


def _figure(pattern: str, text: str, unit: float) -> float | None:
    match = re.search(pattern, text)
    return float(match[1]) * unit if match else None


def _drive(
    lg: Any,
    official: str,
    predict: Callable[[list[Any]], object],
    crops: list[Any],
    batch: int,
    budget_s: float,
    logs: Path,
) -> None:
    """Run LoadGen; raise what the predictor raised."""
    failed: list[FerEdgeError] = []

    def issue(queries: list[Any]) -> None:
        for first in range(0, len(queries), batch):
            part = queries[first : first + batch]
            try:
                predict([crops[query.index] for query in part])
            except FerEdgeError as error:  # an exception in LoadGen's C++ ends the process
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
    """Return calls per second, which LoadGen requires as an estimate."""
    call()
    start = time.perf_counter()
    for _ in range(5):
        call()
    return 5 / (time.perf_counter() - start)
