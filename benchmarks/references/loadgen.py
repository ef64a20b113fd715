"""MLPerf's LoadGen on the same variants: SingleStream, MultiStream and Offline.

LoadGen cannot be stopped, and an exception in its C++ ends the process. Each run therefore has a
process of its own, ``python -P -m fer_edge.benchmarks.references.loadgen``, that Ctrl-C kills.
"""

from __future__ import annotations

import importlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn, NotRequired, TypedDict

import numpy as np

from fer_edge import EngineError, FerEdgeError, InputError, Predictor
from fer_edge.atomic import check_place
from fer_edge.benchmarks.fields import Positive
from fer_edge.benchmarks.job import CROP_PX, Job, Run, noise
from fer_edge.benchmarks.measure.timing import Call, Samples, interleaved
from fer_edge.child import answer, answer_on, end_with_parent, python_command
from fer_edge.libraries import needed

_DISTINCT = 512
"""Least crops that the samples are taken from; never fewer than the faces of a call."""
_DRIVEN = ("single", "offline")
_OTHER_LOGS = "Choose another --loadgen-logs"


VALID_BY = "VALID is LoadGen's verdict on a run of --budget-s seconds; MLPerf requires 600 s."


class Summary(TypedDict):
    """Figures of LoadGen's summary; None for those that it does not state."""

    scenario: Annotated[str | None, "LoadGen's name of the scenario."]
    valid: Annotated[
        bool,
        "LoadGen's verdict on a run of --budget-s seconds; MLPerf requires 600 s and more queries.",
    ]
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


def check_loadgen(scenario: str, folder: Path) -> None:
    """Check LoadGen and the place of its logs before minutes of work depend on them.

    Raises:
        InputError: LoadGen does not drive this scenario, or the folder cannot be written.
        MissingDependencyError: LoadGen is not installed.
    """
    if scenario not in _DRIVEN:
        raise InputError(
            f"LoadGen drives {' and '.join(_DRIVEN)}, not {scenario}: it has no constant stream"
        )
    with needed("mlcommons-loadgen", "loadgen"):
        importlib.import_module("mlperf_loadgen")
    try:
        check_place(folder / "logs", folder=True)
    except OSError as error:
        raise InputError(
            f"cannot write logs to {folder}: {error.strerror}. {_OTHER_LOGS}"
        ) from error


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
        EngineError: The predictor failed, or LoadGen's process ended.
    """
    check_loadgen(scenario, folder)
    rows: list[LoadgenRow] = []
    total = len(job.batch_sizes) * len(job.predictors)
    for i, run in enumerate(job.runs("LoadGen")):
        official = "Offline" if scenario == "offline" else _stream(run.batch)
        job.step(f"LoadGen {official}", i, total)
        rows.append(_row(job.bundle, run, official, _logs_folder(folder, run, official)))
    job.step("LoadGen", total, total)
    return rows


def _logs_folder(folder: Path, run: Run, official: str) -> Path:
    name = official if run.batch == 1 else f"{official}-{run.batch}"
    logs = folder / run.variant.replace("/", "-") / name
    try:
        logs.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot write logs to {logs}: {error.strerror}. {_OTHER_LOGS}") from error
    return logs


def _row(bundle: Path, run: Run, official: str, logs: Path) -> LoadgenRow:
    our_p90_ms = _in_child(bundle, run, official, logs)
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
    if official != "Offline":
        row["our_p90_ms"] = our_p90_ms
    return row


def _in_child(bundle: Path, run: Run, official: str, logs: Path) -> float | None:
    """Drive a variant in a process of its own; return our p90 in ms. Raises EngineError."""
    command = python_command("-m", "fer_edge.benchmarks.references.loadgen", str(bundle))
    command += [*run.target_and_precision, str(run.batch), str(run.budget_s), official, str(logs)]
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    answers = [text for line in done.stdout.splitlines() if (text := answer_on(line)) is not None]
    if not answers:
        lines = done.stderr.strip().splitlines() or ["no message"]
        raise EngineError(
            f"LoadGen's process ended with exit code {done.returncode} on {run.variant}: "
            f"{lines[-1]}. Run it again, or leave out --loadgen"
        )
    told = json.loads(answers[0])
    if "error" in told:
        raise EngineError(told["error"])
    our_p90_ms: float | None = told["our_p90_ms"]
    return our_p90_ms


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
    """Run LoadGen; if the predictor fails, answer with its error and end the process."""

    def issue(queries: list[Any]) -> None:
        for first in range(0, len(queries), batch):
            part = queries[first : first + batch]
            try:
                predict([crops[query.index] for query in part])
            except Exception as error:
                _fail(error)
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
    lg.StartTestWithLogSettings(system, library, settings, log)
    lg.DestroyQSL(library)
    lg.DestroySUT(system)


def _rate_hz(call: Callable[[], object]) -> float:
    """Return calls per second, which LoadGen requires as an estimate."""
    call()
    start = time.perf_counter()
    for _ in range(5):
        call()
    return 5 / (time.perf_counter() - start)


def _fail(error: Exception) -> NoReturn:
    """Answer with an error, and end the process at once: LoadGen would go on for its budget."""
    answer(json.dumps({"error": str(error) or repr(error)}))
    os._exit(1)


def main(
    bundle: str, target: str, precision: str, batch: str, budget_s: str, official: str, logs: str
) -> None:
    """Drive a variant with LoadGen, and answer with our p90 in ms of the same calls."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent too, which kills
    end_with_parent()
    import mlperf_loadgen

    streamed = official != "Offline"
    hint: Literal["latency", "throughput"] = "latency" if streamed else "throughput"
    faces, seconds = int(batch), float(budget_s)
    taken: list[Samples] = []
    try:
        with Predictor(bundle, target, precision, hint=hint) as predictor:
            predict, crops = predictor.predict_batch, list(noise(max(_DISTINCT, faces), CROP_PX))
            ours = partial(_ours, partial(predict, crops[:faces]), seconds / 4)
            if streamed:
                taken.append(ours())
            _drive(mlperf_loadgen, official, predict, crops, faces, seconds, Path(logs))
            if streamed:
                taken.append(ours())
    except FerEdgeError as error:
        _fail(error)
    both = Samples(np.concatenate([part.ns for part in taken])) if taken else None
    answer(json.dumps({"our_p90_ms": None if both is None else both.percentile_ms(90)}))


if __name__ == "__main__":
    main(*sys.argv[1:])
