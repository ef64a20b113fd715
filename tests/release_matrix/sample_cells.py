"""Cells with made-up figures."""

from __future__ import annotations

import base64
from dataclasses import replace
from typing import Any

import numpy as np

from fer_edge.benchmarks.measure.rows import pack
from fer_edge.parity import FacesRecord, ParityReport
from fer_edge.release_matrix.cell import HERE, Accuracy, Build, Cell, Identity, Run
from fer_edge.release_matrix.stored import Matrix
from fer_edge.verdict import FP32, PASSED, Check, Flips, Judgement

MACHINE = {"cpu": "a chip", "isa": ["avx2"], "cores": 2, "affinity": 2, "memory_bytes": 8 << 30}
IDENTITY = Identity("a" * 64, "0.2.0", "b" * 64, "c" * 64, {"onnxruntime": "1.31"}, "a chip")


def accuracy(correct: int, faces: int = 1_000) -> Accuracy:
    """The first ``correct`` faces have the right label."""
    bits = np.arange(faces) < correct
    share = correct / faces
    low, high = max(share - 0.02, 0), min(share + 0.02, 1)
    return Accuracy(share, low, high, faces, 1.0, base64.b64encode(np.packbits(bits)).decode())


def ran(p50_ms: float = 1.0, where: str = HERE, **more: Any) -> Run:
    """A run with 240 latencies around a median."""
    ns = (1e6 * p50_ms * np.linspace(0.9, 1.1, 240)).astype(np.int64)
    return Run(where, p50_ms=p50_ms, latencies_ns=pack(ns), **more)


def report(verdict: str = PASSED, failures: tuple[str, ...] = ()) -> ParityReport:
    """A parity report with a verdict."""
    checks = (Check("agreement", 0.99, 0.98, 1.0, 1_000),)
    checks += (Check("answered_agreement", 0.999, 0.997, 1.0, 900, 0.995, verdict),)
    return ParityReport(
        max_abs_dp=0.01,
        mean_abs_dp=0.001,
        agreement=0.99,
        accuracy=0.8,
        reference_accuracy=0.8,
        accuracy_change=0.0,
        macro_f1_change=0.0,
        ece_change=0.0,
        recall_change={"anger": 0.0},
        embedding_cosine_min=0.99,
        batch_sizes=(1, 2),
        faces=FacesRecord("set", 1_000, "d" * 64),
        allowed_drop=None,
        failures=failures,
        machine="a chip",
        judgement=Judgement(verdict, FP32, 0.5, checks, Flips(0, 0, 0.0, 0.0)),
    )


CELL = Cell(
    "default",
    "onnxruntime",
    "int8",
    IDENTITY,
    MACHINE,
    Build(None, False, 1.5, 2_000_000),
    ran(),
    report(),
    accuracy(800),
)


def matrix(*cells: Cell, version: str = "0.2.0") -> Matrix:
    """A finished matrix of a version."""
    return Matrix(version, cells=cells or (CELL,))


def failed(cell: Cell = CELL) -> Cell:
    """The cell with a broken limit."""
    return replace(cell, parity=report("failed", ("97.00 % agree, 99.50 % is needed",)))
