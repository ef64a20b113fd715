"""Cell of the release matrix: a model's grade on a target in a precision."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from fer_edge.benchmarks.measure.rows import unpack
from fer_edge.json_check import (
    read_count,
    read_list,
    read_mapping,
    read_number,
    read_object,
    read_optional,
    read_positive,
    read_sha256,
    read_share,
    read_text,
)
from fer_edge.parity import ParityReport
from fer_edge.shown import printable
from fer_edge.verdict import FAILED, PASSED, UNDECIDED

HERE, SIMULATED, STAND_IN, NOWHERE = "here", "simulated", "stand-in", "nowhere"
PLACES = (NOWHERE, STAND_IN, SIMULATED, HERE)
"""Places where a variant ran, the weakest evidence first. They are: nowhere; on another engine or
an evaluator; on a simulator of the chip; on this machine's hardware."""
GRADES = ("not built", "built", "ran", UNDECIDED, PASSED)
"""Grades, the lowest first. They are: not built; built; ran without passing its gate; too few faces
for a verdict; passed. Accuracy is measured from ``ran`` on."""


_KEY = ("model", "target", "precision")


@dataclass(frozen=True)
class Identity:
    """Inputs of a cell. A cell with the same inputs is not graded again.

    Attributes:
        checkpoint: SHA-256 of all of the checkpoint that changes answers.
        version: Version of the package.
        faces: SHA-256 of all faces that judge.
        calibration: SHA-256 of the faces that calibrate.
        libraries: Versions of the target's libraries.
        cpu: Processor.
        gpus: Names of the NVIDIA GPUs.
    """

    checkpoint: str
    version: str
    faces: str
    calibration: str
    libraries: Mapping[str, str]
    cpu: str
    gpus: tuple[str, ...] = ()

    @classmethod
    def parse(cls, value: Any, where: str) -> Identity:
        """Read the JSON form strictly; see ParityReport.parse."""
        item = read_object(value, where, _names(cls)[:-1], ("gpus",))
        hashes = ("checkpoint", "faces", "calibration")
        versions = read_mapping(item["libraries"], f"{where}.libraries")
        return cls(
            **{name: read_sha256(item[name], f"{where}.{name}") for name in hashes},
            version=read_text(item["version"], f"{where}.version"),
            libraries={k: read_text(v, f"{where}.libraries") for k, v in versions.items()},
            cpu=read_text(item["cpu"], f"{where}.cpu"),
            gpus=read_list(item.get("gpus", []), f"{where}.gpus", read_text),
        )


@dataclass(frozen=True)
class Build:
    """Step 1: the variant is built, and its engine loads it.

    Attributes:
        failure: Why there is no variant; None if there is.
        not_installed: The failure is a library that this machine lacks.
        seconds: Seconds of the build, the search of recipes included.
        bytes: Size of the variant's files.
    """

    failure: str | None = None
    not_installed: bool = False
    seconds: float | None = None
    bytes: int | None = None

    @classmethod
    def parse(cls, value: Any, where: str) -> Build:
        """Read the JSON form strictly; see ParityReport.parse."""
        item = read_object(value, where, _names(cls))
        return cls(
            read_optional(item, "failure", where, read_text),
            _read_flag(item["not_installed"], f"{where}.not_installed"),
            read_optional(item, "seconds", where, read_positive),
            read_optional(item, "bytes", where, read_count),
        )


@dataclass(frozen=True)
class Run:
    """Step 2: the variant answers faces.

    Attributes:
        where: One of PLACES.
        by: Name of the simulator or stand-in; None for the engine itself.
        reason: Why the engine did not run on its own chip; None if it did.
        executed: Report of the engine on what ran where; None if it cannot say.
        p50_ms: Median latency at batch 1; None if it was not measured.
        p99_ms: 99th percentile; None with too few samples as well.
        latencies_ns: Samples in ns, as ``benchmarks.measure.rows.pack`` writes them.
        note: Reasons to doubt the latency; None without any.
    """

    where: str
    by: str | None = None
    reason: str | None = None
    executed: str | None = None
    p50_ms: float | None = None
    p99_ms: float | None = None
    latencies_ns: str | None = None
    note: str | None = None

    @property
    def latencies(self) -> npt.NDArray[np.int64] | None:
        """Samples in ns, int64 ``[N]``."""
        return None if self.latencies_ns is None else unpack(self.latencies_ns)

    @classmethod
    def parse(cls, value: Any, where: str) -> Run:
        """Read the JSON form strictly; see ParityReport.parse."""
        item = read_object(value, where, _names(cls))
        texts = ("by", "reason", "executed", "latencies_ns", "note")
        place = read_text(item["where"], f"{where}.where")
        if place not in PLACES:
            raise ValueError(f"expected one of {', '.join(PLACES)} in {where}, got {place[:40]!r}")
        run = cls(
            place,
            **{name: read_optional(item, name, where, read_text) for name in texts},
            p50_ms=read_optional(item, "p50_ms", where, read_positive),
            p99_ms=read_optional(item, "p99_ms", where, read_positive),
        )
        if run.latencies is not None and (not len(run.latencies) or run.latencies.min() < 1):
            raise ValueError(f"expected {where}.latencies_ns above 0")
        return run


@dataclass(frozen=True)
class Accuracy:
    """Step 4: accuracy on labelled faces.

    Attributes:
        value: Share (0..1) of the faces with the right label.
        low: Lower end of its 95 % interval.
        high: Upper end of its interval.
        faces: Number of faces.
        independent: Share (0..1) of the faces that are evidence of their own; copies are none.
        correct: A bit for each face, in base64: the label was right.
    """

    value: float
    low: float
    high: float
    faces: int
    independent: float
    correct: str

    @property
    def bits(self) -> npt.NDArray[np.bool_]:
        """True for each face with the right label, ``[faces]``."""
        packed = np.frombuffer(base64.b64decode(self.correct), np.uint8)
        return np.unpackbits(packed, count=self.faces).astype(bool)

    @classmethod
    def parse(cls, value: Any, where: str) -> Accuracy:
        """Read the JSON form strictly; see ParityReport.parse."""
        item = read_object(value, where, _names(cls))
        faces = read_count(item["faces"], f"{where}.faces")
        correct = read_text(item["correct"], f"{where}.correct")
        if len(base64.b64decode(correct, validate=True)) != -(-faces // 8):
            raise ValueError(f"expected {faces} bits in {where}.correct")
        names = ("value", "low", "high")
        shares = {name: read_share(item[name], f"{where}.{name}") for name in names}
        # At least one face is evidence of its own.
        independent = read_number(item["independent"], f"{where}.independent", 1 / faces, 1)
        return cls(**shares, faces=faces, independent=independent, correct=correct)


def cell_name(model: str, target: str, precision: str) -> str:
    """Return the name of a cell for readers: ``default openvino/int8``."""
    return f"{model} {target}/{precision}"


@dataclass(frozen=True)
class Cell:
    """One model on one target in one precision.

    Attributes:
        model: Name of the model.
        target: Name of the target.
        precision: Name of the precision.
        identity: Inputs of the cell.
        machine: Facts about the machine that forbid a comparison of latencies if they differ.
        build: Step 1.
        run: Step 2; None if step 1 failed.
        parity: Step 3, the verdict of the gate with its figures; None if nothing ran.
        accuracy: Step 4; None if nothing ran.
    """

    model: str
    target: str
    precision: str
    identity: Identity
    machine: Mapping[str, Any]
    build: Build
    run: Run | None = None
    parity: ParityReport | None = None
    accuracy: Accuracy | None = None

    @property
    def key(self) -> tuple[str, str, str]:
        """Model, target and precision."""
        return self.model, self.target, self.precision

    @property
    def name(self) -> str:
        """Name for readers: ``default openvino/int8``."""
        return cell_name(*self.key)

    @property
    def verdict(self) -> str | None:
        """Verdict of the gate; None if nothing ran. A figure beyond its limit fails."""
        if self.parity is None:
            return None
        return FAILED if self.parity.failures else self.parity.verdict

    @property
    def grade(self) -> str:
        """One of GRADES."""
        if self.build.failure is not None:
            return "not built"
        if self.verdict is None:
            return "built"
        return "ran" if self.verdict == FAILED else self.verdict

    def __str__(self) -> str:
        line = f"{self.name}: {self.grade}"
        if self.run is None:
            return f"{line} ({self.build.failure})"
        line += f", {self.run.where}"
        if self.run.p50_ms is not None:
            line += f", p50 {self.run.p50_ms:.2f} ms"
        if self.accuracy is not None:
            low, high = 100 * self.accuracy.low, 100 * self.accuracy.high
            line += f", accuracy {100 * self.accuracy.value:.2f} % ({low:.2f} to {high:.2f})"
        return line

    def as_dict(self) -> dict[str, Any]:
        """Return the JSON form, with the grade for readers."""
        return {
            "model": self.model,
            "target": self.target,
            "precision": self.precision,
            "grade": self.grade,
            "identity": vars(self.identity)
            | {"libraries": dict(self.identity.libraries), "gpus": list(self.identity.gpus)},
            "machine": dict(self.machine),
            "build": dict(vars(self.build)),
            "run": None if self.run is None else dict(vars(self.run)),
            "parity": None if self.parity is None else self.parity.as_dict(),
            "accuracy": None if self.accuracy is None else dict(vars(self.accuracy)),
        }

    @classmethod
    def parse(cls, value: Any, where: str) -> Cell:
        """Read the JSON form strictly; see ParityReport.parse."""
        item = read_object(value, where, (*_names(cls), "grade"))
        cell = cls(
            **{key: printable(read_text(item[key], f"{where}.{key}")) for key in _KEY},
            identity=Identity.parse(item["identity"], f"{where}.identity"),
            machine=_read_machine(item["machine"], f"{where}.machine"),
            build=Build.parse(item["build"], f"{where}.build"),
            run=read_optional(item, "run", where, Run.parse),
            parity=read_optional(item, "parity", where, ParityReport.parse),
            accuracy=read_optional(item, "accuracy", where, Accuracy.parse),
        )
        if cell.grade != item["grade"]:
            raise ValueError(f"expected the grade {cell.grade!r} in {where}, got {item['grade']!r}")
        return cell


def _names(of: Any) -> tuple[str, ...]:
    return tuple(each.name for each in fields(of))


def _read_machine(value: Any, where: str) -> Mapping[str, Any]:
    machine = read_mapping(value, where)
    for gpu in read_list(machine.get("gpus", []), f"{where}.gpus", read_mapping):
        read_text(gpu.get("name"), f"{where}.gpus")
    return machine


def _read_flag(value: Any, where: str) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"expected true or false in {where}, got {str(value)[:40]!r}")
    return value
