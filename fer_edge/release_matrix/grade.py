"""Grading of one cell: build, run, parity, accuracy."""

from __future__ import annotations

import base64
import contextlib
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from fer_edge.backends.base import Options, simulator
from fer_edge.benchmarks.bench import bench
from fer_edge.benchmarks.measure.rows import pack, unpack
from fer_edge.bundle import open_bundle, write_bundle
from fer_edge.converters.pipeline.assemble_bundle import assemble
from fer_edge.converters.pipeline.build_variant import BuiltVariant, build_variant
from fer_edge.converters.pipeline.prepare import Prepared
from fer_edge.converters.pipeline.verify_variant import ParityCheck, verify_variant
from fer_edge.errors import FerEdgeError, MissingDependencyError
from fer_edge.explanation import executed
from fer_edge.parity import ParityReport
from fer_edge.preprocess import CropRule
from fer_edge.progress import Say
from fer_edge.release_matrix.cell import (
    HERE,
    NOWHERE,
    SIMULATED,
    STAND_IN,
    Accuracy,
    Build,
    Cell,
    Identity,
    Run,
)
from fer_edge.training.evaluation.intervals import share_interval
from fer_edge.verdict import PASSED

SAMPLES = 64
"""Samples of a latency that a cell stores, evenly spread: enough to compare medians."""


@dataclass(frozen=True)
class Grading:
    """Inputs that the cells of a model share.

    Attributes:
        prepared: Exported graphs, and checks with their faces.
        rule: Crop rule of the model.
        machine: Facts about this machine; see ``Cell``.
        budget_s: Seconds to time each variant that runs on this machine's hardware.
    """

    prepared: Prepared
    rule: CropRule
    machine: Mapping[str, Any]
    budget_s: float


def grade(key: tuple[str, str, str], identity: Identity, shared: Grading, say: Say) -> Cell:
    """Build a variant, run it, judge its parity and measure accuracy and latency.

    A step that fails is part of the cell, with its reason; the later steps are then None.

    Args:
        key: Model, target and precision.
        identity: Inputs of the cell.
        shared: Inputs that the cells of a model share.
        say: Receives each sentence of progress.
    """
    _, target, precision = key
    cell = Cell(*key, identity, shared.machine, Build())
    started = time.monotonic()
    try:
        built = build_variant(target, precision, shared.prepared.work, shared.rule, say)
    except FerEdgeError as error:
        say(f"  {target}/{precision}: {error}")
        missing = isinstance(error, MissingDependencyError)
        return replace(cell, build=Build(str(error), missing))
    size = sum(file.bytes for file in built.variant.files)
    cell = replace(cell, build=Build(None, False, time.monotonic() - started, size))
    if built.session is None:
        return replace(cell, run=Run(NOWHERE, reason=built.unable))
    check = shared.prepared.check(precision)
    try:
        with contextlib.closing(built.session):
            report = verify_variant(built, check, say).parity
    except FerEdgeError as error:
        return replace(cell, run=Run(NOWHERE, reason=str(error)))
    if report is None or not np.isfinite(report.max_abs_dp):  # JSON has no NaN
        return replace(cell, run=Run(NOWHERE, reason="some answers are not numbers"))
    return replace(
        cell,
        run=_run(built, shared),
        parity=_short(report),
        accuracy=_accuracy(built.variant.name, check),
    )


def _short(report: ParityReport) -> ParityReport:
    """Leave out the passed checks of single classes, a third of a stored cell."""
    if report.judgement is None:
        return report
    checks = tuple(
        check
        for check in report.judgement.checks
        if check.verdict != PASSED or not check.name.startswith("recall_change.")
    )
    return replace(report, judgement=replace(report.judgement, checks=checks))


def _accuracy(name: str, check: ParityCheck) -> Accuracy:
    """Return the accuracy of a variant on the faces that it was judged on."""
    decisions = check.answers[name].argmax(1)
    truth = [check.labels.index(label) for label in check.gate.truth[: len(decisions)]]
    correct = decisions == np.array(truth)
    weight = check.gate.independent  # copies of a face are not independent evidence
    low, high = share_interval(float(correct.sum()) * weight, len(correct) * weight)
    bits = base64.b64encode(np.packbits(correct).tobytes()).decode()
    return Accuracy(float(correct.mean()), low, high, len(correct), weight, bits)


def _run(built: BuiltVariant, shared: Grading) -> Run:
    """Return where a variant ran, what was executed there, and its latency on hardware."""
    variant = built.variant
    if built.unable is not None:
        return Run(STAND_IN, built.artifact.verified_by, built.unable)
    simulated = simulator(variant.target, Options())
    run = Run(HERE)
    if simulated is not None:
        run = Run(SIMULATED, simulated, "this machine has no such chip")
    with tempfile.TemporaryDirectory(prefix="fer-edge-matrix-") as folder:
        bundle, contents = assemble(
            Path(folder) / "cell.fer",
            shared.prepared.work.checkpoint,
            shared.rule,
            variants=[variant],
            files=built.artifact.files,
        )
        write_bundle(bundle, contents)
        bundle = open_bundle(bundle.path)
        execution, refusal = executed(bundle, variant, Options())
        run = replace(run, executed=None if execution is None else str(execution))
        if refusal is not None:
            return replace(run, note=refusal)
        return run if run.where == SIMULATED else _timed(run, bundle.path, shared.budget_s)


def _timed(run: Run, bundle: Path, budget_s: float) -> Run:
    """Add the latency that ``fer-edge bench --scenario single`` measures; a simulator has none."""
    try:
        report = bench(bundle, scenario="single", budget_s=budget_s)
    except FerEdgeError as error:
        return replace(run, note=str(error))
    row = report["rows"][0]
    samples = unpack(row["latencies_ns"])
    return replace(
        run,
        p50_ms=row["p50_ms"],
        p99_ms=row["p99_ms"],
        latencies_ns=pack(samples[:: -(-len(samples) // SAMPLES)]),
        note=report["note"],
    )
