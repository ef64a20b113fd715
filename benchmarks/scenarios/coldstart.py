"""Scenario ``coldstart``: a fresh process from its start to the first answer."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Annotated, Any, TypedDict

import numpy as np

from fer_edge import EngineError
from fer_edge.benchmarks.fields import Count, Row, RssBytes
from fer_edge.benchmarks.job import Job
from fer_edge.benchmarks.measure import metrics
from fer_edge.benchmarks.measure.cells import megabytes, number
from fer_edge.benchmarks.scenarios.base import Scenario
from fer_edge.child import answer_on, python_command

_MIN_STARTS, _MAX_STARTS = 3, 24

METHOD = (
    "Cold start: medians over fresh processes, the variants in turns, files in the page cache. "
    "Total: from the start of the process to its first answer, including the interpreter."
)

# Run with -c: "python -m fer_edge..." imports fer_edge before the first line is timed.
_PROGRAM = """
import json, sys, time
started = time.perf_counter()
import numpy as np
from fer_edge import Predictor
imported = time.perf_counter()
from fer_edge.child import answer, end_with_parent
end_with_parent()
loading = time.perf_counter()
predictor = Predictor(*sys.argv[1:])
loaded = time.perf_counter()
predictor(np.random.default_rng(0).integers(0, 256, (200, 200, 3), np.uint8))
answered = time.perf_counter()
answer(json.dumps({
    "import_s": imported - started,
    "load_s": loaded - loading,
    "first_answer_s": answered - loaded,
}))
import psutil
answer(json.dumps({"rss_bytes": psutil.Process().memory_info().rss}))
"""


class ColdStart(TypedDict):
    """Times and memory of a fresh process."""

    total_s: Annotated[float, "Seconds from the start of the process to its first answer."]
    import_s: Annotated[float, "Seconds to import fer_edge."]
    load_s: Annotated[float, "Seconds to load the Predictor."]
    first_answer_s: Annotated[float, "Seconds of the first call."]
    rss_bytes: RssBytes


class ColdStartRow(Row, ColdStart):
    """Row of medians over several cold starts."""

    starts: Annotated[Count, "Fresh processes."]
    longest_s: Annotated[float, "Longest total_s."]


def cold_start(bundle: str | Path, variant: str) -> ColdStart:
    """Start a process that loads a variant and answers once.

    Args:
        bundle: Folder of the bundle.
        variant: Name, ``TARGET/PRECISION``.

    Returns:
        Seconds and bytes.

    Raises:
        EngineError: The process failed.
    """
    target, precision = variant.split("/")
    command = python_command("-c", _PROGRAM, str(bundle), target, precision)
    with TemporaryFile("w+", encoding="utf-8", errors="replace") as said:
        answers, code = _answers(command, said)
        if code != 0 or len(answers) < 2:
            said.seek(0)
            lines = said.read().strip().splitlines() or ["no message"]
            raise EngineError(f"a fresh process could not run {variant}: {lines[-1]}")
    (total_s, parts), (_, memory) = answers[-2:]
    return {
        "total_s": total_s,
        "import_s": parts["import_s"],
        "load_s": parts["load_s"],
        "first_answer_s": parts["first_answer_s"],
        "rss_bytes": memory["rss_bytes"],
    }


def _answers(
    command: list[str], stderr: IO[str]
) -> tuple[list[tuple[float, dict[str, float]]], int]:
    """Return the answers of a process, each with the seconds until it came, and the exit code."""
    began = time.perf_counter()
    answers = []
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=stderr, encoding="utf-8", errors="replace"
    ) as child:
        assert child.stdout is not None
        try:
            for line in child.stdout:
                seconds = time.perf_counter() - began
                if (text := answer_on(line)) is not None:
                    answers.append((seconds, json.loads(text)))
        except BaseException:
            child.kill()
            raise
    return answers, child.returncode


def _run(job: Job) -> dict[str, Any]:
    starts: dict[str, list[ColdStart]] = {name: [] for name in job.predictors}
    began = time.monotonic()
    for repeat in range(1, _MAX_STARTS + 1):
        for name, measured in starts.items():
            measured.append(cold_start(job.bundle, name))
        spent_s = time.monotonic() - began
        job.step("cold starts", repeat, _MAX_STARTS)
        if repeat >= _MIN_STARTS and spent_s > job.budget_s:
            break
    rows = [_row(name, measured) for name, measured in starts.items()]
    return {"rows": rows, "method": METHOD}


def _row(name: str, starts: list[ColdStart]) -> ColdStartRow:
    return {
        "variant": name,
        "batch": 1,
        "starts": len(starts),
        "total_s": float(np.median([start["total_s"] for start in starts])),
        "import_s": float(np.median([start["import_s"] for start in starts])),
        "load_s": float(np.median([start["load_s"] for start in starts])),
        "first_answer_s": float(np.median([start["first_answer_s"] for start in starts])),
        "rss_bytes": float(np.median([start["rss_bytes"] for start in starts])),
        "longest_s": max(start["total_s"] for start in starts),
    }


SCENARIO = Scenario(
    help="Fresh processes from their start to the first answer; at least three of each variant.",
    run=_run,
    batch_sizes=(1,),
    row=ColdStartRow,
    columns={
        "starts": number("starts", "d"),
        "total s": number("total_s", ".3f"),
        "import s": number("import_s", ".3f"),
        "load s": number("load_s", ".3f"),
        "answer s": number("first_answer_s", ".3f"),
        "longest s": number("longest_s", ".3f"),
        "resident MB": megabytes("rss_bytes"),
    },
    metrics={"rss": metrics.RSS, "start": metrics.START},
    sizes=False,
)
