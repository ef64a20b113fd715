"""Parity reports and measured speed of variants, as ``bundle.json`` records them.

docs/reference/bundle-format.md specifies every key. The readers are strict: a missing key, an
unknown key or a value out of range raises ValueError with the key's name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from fer_edge.json_check import (
    read_changes,
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
from fer_edge.verdict import UNDECIDED, Judgement, read_verdict

_SLACK = 1e-3
"""Largest excess over 1 that rounding in float32 may give a probability or a cosine."""


@dataclass(frozen=True)
class FacesRecord:
    """Faces that a variant was verified or calibrated on.

    Attributes:
        source: Name of the data set.
        faces: Number of faces.
        sha256: SHA-256 of the faces' sorted pixel hashes, in hexadecimal.
    """

    source: str
    faces: int
    sha256: str

    @classmethod
    def parse(cls, value: Any, where: str) -> FacesRecord:
        """Read the record strictly; see ParityReport.parse."""
        item = read_object(value, where, ("source", "faces", "sha256"))
        return cls(
            source=read_text(item["source"], f"{where}.source"),
            faces=read_count(item["faces"], f"{where}.faces"),
            sha256=read_sha256(item["sha256"], f"{where}.sha256"),
        )


@dataclass(frozen=True)
class JudgedBy:
    """Session that verified a variant because its engine could not run.

    Attributes:
        judge: Name of the session: ``onnxruntime``, ``coreml_evaluator``.
        reason: Why the engine could not run on that machine.
    """

    judge: str
    reason: str

    def __str__(self) -> str:
        return f"{self.judge}; the chip itself has not run it yet: {self.reason}"

    @classmethod
    def parse(cls, value: Any, where: str) -> JudgedBy:
        """Read the record strictly; see ParityReport.parse."""
        item = read_object(value, where, ("judge", "reason"))
        return cls(
            judge=read_text(item["judge"], f"{where}.judge"),
            reason=read_text(item["reason"], f"{where}.reason"),
        )


@dataclass(frozen=True)
class FileParity:
    """Answers of a variant's engine against another engine's, for the same file.

    Attributes:
        judge: Name of the other engine.
        faces: Number of faces.
        agreement: Share (0..1) of faces with the same decision.
        max_abs_dp: Largest absolute difference of a probability.
    """

    judge: str
    faces: int
    agreement: float
    max_abs_dp: float

    def __str__(self) -> str:
        return (
            f"decides as {self.judge} on the same file on {self.agreement:.2%} of "
            f"{self.faces:,} faces; max |dp| {self.max_abs_dp:.1e}"
        )

    @classmethod
    def parse(cls, value: Any, where: str) -> FileParity:
        """Read the record strictly; see ParityReport.parse."""
        item = read_object(value, where, ("judge", "faces", "agreement", "max_abs_dp"))
        return cls(
            judge=read_text(item["judge"], f"{where}.judge"),
            faces=read_count(item["faces"], f"{where}.faces"),
            agreement=read_share(item["agreement"], f"{where}.agreement"),
            max_abs_dp=read_number(item["max_abs_dp"], f"{where}.max_abs_dp", 0, 1 + _SLACK),
        )


@dataclass(frozen=True)
class RecipeTrial:
    """One recipe that the search built or skipped.

    Attributes:
        recipe: Settings of the recipe; empty for the default.
        agreement: Share (0..1) of the calibration faces with the checkpoint's decision; None if
            the recipe was not run.
        refused: Why the recipe was not run; None if it was.
        seconds: Seconds that the build and the run took; None if the recipe was skipped.
    """

    recipe: Mapping[str, Any]
    agreement: float | None = None
    refused: str | None = None
    seconds: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the JSON form, without what is None."""
        return {"recipe": dict(self.recipe)} | _without_none(
            agreement=self.agreement, refused=self.refused, seconds=self.seconds
        )

    @classmethod
    def parse(cls, value: Any, where: str) -> RecipeTrial:
        """Read the record strictly; see ParityReport.parse."""
        item = read_object(value, where, ("recipe",), ("agreement", "refused", "seconds"))
        return cls(
            recipe=read_mapping(item["recipe"], f"{where}.recipe"),
            agreement=read_optional(item, "agreement", where, read_share),
            refused=read_optional(item, "refused", where, read_text),
            seconds=read_optional(item, "seconds", where, read_positive),
        )


@dataclass(frozen=True)
class Comparison:
    """Outputs of a variant against those of its checkpoint.

    Changes are variant minus checkpoint.

    Attributes:
        max_abs_dp: Largest absolute difference of a probability.
        mean_abs_dp: Mean absolute difference of the probabilities.
        agreement: Share (0..1) of faces with the checkpoint's decision, answered or withheld.
        accuracy: Share (0..1) of faces that the variant classifies correctly.
        reference_accuracy: The checkpoint's share (0..1).
        accuracy_change: Change of accuracy (-1..1).
        macro_f1_change: Change of the macro F1 score (-1..1).
        ece_change: Change of the expected calibration error (-1..1).
        recall_change: Change of recall (-1..1) by label.
        embedding_cosine_min: Smallest cosine (-1..1) between the two embeddings of a face.
    """

    max_abs_dp: float
    mean_abs_dp: float
    agreement: float
    accuracy: float
    reference_accuracy: float
    accuracy_change: float
    macro_f1_change: float
    ece_change: float
    recall_change: Mapping[str, float]
    embedding_cosine_min: float


@dataclass(frozen=True)
class ParityReport(Comparison):
    """Measured parity of a variant with its checkpoint.

    Attributes:
        batch_sizes: Batch sizes at which each face got its own answer.
        faces: Faces that verified the variant.
        allowed_drop: Accuracy, as a share (0..1), that the user allowed to lose; None requires
            agreement instead.
        failures: Limits that the variant breaks, one sentence each. Empty in a bundle.
        machine: CPU of the machine that verified.
        judged_by: Session that ran instead of the engine; None if the engine ran.
        calibration: Faces that calibrated the variant; None if nothing was calibrated.
        search: Recipes that were tried; empty if there was one.
        judgement: Verdict and its checks; None in bundles of versions before it.
        file_parity: The engine against another one on the same file; None if there is none.
    """

    batch_sizes: tuple[int, ...]
    faces: FacesRecord
    allowed_drop: float | None
    failures: tuple[str, ...]
    machine: str
    judged_by: JudgedBy | None = None
    calibration: FacesRecord | None = None
    search: tuple[RecipeTrial, ...] = ()
    judgement: Judgement | None = None
    file_parity: FileParity | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the JSON form. The attributes with a default are optional keys."""
        content = asdict(self) | {
            "recall_change": dict(self.recall_change),
            "batch_sizes": list(self.batch_sizes),
            "failures": list(self.failures),
        }
        for key in ("judged_by", "calibration", "file_parity"):
            if content[key] is None:
                del content[key]
        content["search"] = [trial.as_dict() for trial in self.search]
        if not self.search:
            del content["search"]
        del content["judgement"]
        return content | _without_none(
            judgement=None if self.judgement is None else self.judgement.as_dict()
        )

    @property
    def undecided(self) -> bool:
        """True if the faces were too few for a verdict."""
        return self.verdict == UNDECIDED

    @property
    def warning(self) -> str | None:
        """Sentence on what the report leaves open; None if the engine itself passed its gate."""
        doubt = None if self.judgement is None else self.judgement.warning
        return "; ".join(filter(None, (doubt, self.verification))) or None

    @property
    def verdict(self) -> str | None:
        """Verdict of the gate; None in bundles of versions before it."""
        return None if self.judgement is None else self.judgement.verdict

    @property
    def verification(self) -> str | None:
        """Sentence on the session that verified; None if the engine itself ran."""
        return None if self.judged_by is None else f"verified by {self.judged_by}"

    @classmethod
    def parse(cls, value: Any, where: str = "parity") -> ParityReport:
        """Read the JSON form strictly.

        Args:
            value: Decoded JSON.
            where: Name of the value, for errors.

        Raises:
            ValueError: A key is missing, unknown or out of range; the message names it.
        """
        optional = ("judged_by", "calibration", "search", "judgement", "file_parity")
        keys = tuple(key for key in cls.__dataclass_fields__ if key not in optional)
        item = read_object(value, where, keys, optional)
        return cls(
            **{
                key: read_number(item[key], f"{where}.{key}", low, high)
                for key, (low, high) in _FIGURES.items()
            },
            recall_change=read_changes(item["recall_change"], f"{where}.recall_change"),
            batch_sizes=read_list(item["batch_sizes"], f"{where}.batch_sizes", read_count),
            faces=FacesRecord.parse(item["faces"], f"{where}.faces"),
            allowed_drop=read_optional(item, "allowed_drop", where, read_share),
            failures=read_list(item["failures"], f"{where}.failures", read_text),
            machine=read_text(item["machine"], f"{where}.machine"),
            judged_by=read_optional(item, "judged_by", where, JudgedBy.parse),
            calibration=read_optional(item, "calibration", where, FacesRecord.parse),
            search=read_list(item.get("search", []), f"{where}.search", RecipeTrial.parse),
            judgement=read_optional(item, "judgement", where, Judgement.parse),
            file_parity=read_optional(item, "file_parity", where, FileParity.parse),
        )


_FIGURES = {
    "max_abs_dp": (0.0, 1 + _SLACK),
    "mean_abs_dp": (0.0, 1 + _SLACK),
    "agreement": (0.0, 1.0),
    "accuracy": (0.0, 1.0),
    "reference_accuracy": (0.0, 1.0),
    "accuracy_change": (-1.0, 1.0),
    "macro_f1_change": (-1.0, 1.0),
    "ece_change": (-1.0, 1.0),
    "embedding_cosine_min": (-1 - _SLACK, 1 + _SLACK),
}
"""Range of each figure of a comparison."""


@dataclass(frozen=True)
class Speed:
    """Latency of a variant on the machine that converted it.

    Attributes:
        batch_1_p50_ms: Median latency of one face, in milliseconds.
        machine: CPU of that machine.
        beaten_by: Variant that is faster and agrees at least as often; None if there is none.
    """

    batch_1_p50_ms: float
    machine: str
    beaten_by: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the JSON form. ``beaten_by`` is an optional key."""
        return {"batch_1_p50_ms": self.batch_1_p50_ms, "machine": self.machine} | _without_none(
            beaten_by=self.beaten_by
        )

    @classmethod
    def parse(cls, value: Any, where: str = "speed") -> Speed:
        """Read the JSON form strictly; see ParityReport.parse."""
        item = read_object(value, where, ("batch_1_p50_ms", "machine"), ("beaten_by",))
        return cls(
            batch_1_p50_ms=read_positive(item["batch_1_p50_ms"], f"{where}.batch_1_p50_ms"),
            machine=read_text(item["machine"], f"{where}.machine"),
            beaten_by=read_optional(item, "beaten_by", where, read_text),
        )


@dataclass(frozen=True)
class RefusedVariant:
    """Variant that was built and left out of the bundle.

    Attributes:
        agreement: Share (0..1) of faces with the checkpoint's decision.
        accuracy_change: Change of accuracy (-1..1), variant minus checkpoint.
        failures: Limits that the variant breaks; empty if another variant beats it.
        search: Recipes that were tried.
        judged_by: Session that ran instead of the engine; None if the engine ran.
        speed: Latency; None if it was not measured.
        verdict: Verdict of the gate; None in bundles of versions before it.
    """

    agreement: float
    accuracy_change: float
    failures: tuple[str, ...]
    search: tuple[RecipeTrial, ...] = field(default=())
    judged_by: JudgedBy | None = None
    speed: Speed | None = None
    verdict: str | None = None

    @property
    def reason(self) -> str:
        """Why the variant was left out."""
        if self.failures or self.speed is None:
            return "; ".join(self.failures)
        return f"{self.speed.beaten_by} is faster here"

    def as_dict(self) -> dict[str, Any]:
        """Return the JSON form, with the speed's keys beside parity's."""
        content: dict[str, Any] = {
            "agreement": self.agreement,
            "accuracy_change": self.accuracy_change,
            "failures": list(self.failures),
        }
        if self.search:
            content["search"] = [trial.as_dict() for trial in self.search]
        if self.judged_by is not None:
            content["judged_by"] = asdict(self.judged_by)
        content |= _without_none(verdict=self.verdict)
        return content | (self.speed.as_dict() if self.speed is not None else {})

    @classmethod
    def parse(cls, value: Any, where: str = "refused") -> RefusedVariant:
        """Read the JSON form strictly; see ParityReport.parse."""
        required = ("agreement", "accuracy_change", "failures")
        speed_keys = tuple(Speed.__dataclass_fields__)
        item = read_object(value, where, required, ("search", "judged_by", "verdict", *speed_keys))
        speed = {key: item[key] for key in speed_keys if key in item}
        return cls(
            agreement=read_share(item["agreement"], f"{where}.agreement"),
            accuracy_change=read_number(item["accuracy_change"], f"{where}.accuracy_change", -1, 1),
            failures=read_list(item["failures"], f"{where}.failures", read_text),
            search=read_list(item.get("search", []), f"{where}.search", RecipeTrial.parse),
            judged_by=read_optional(item, "judged_by", where, JudgedBy.parse),
            speed=Speed.parse(speed, where) if speed else None,
            verdict=read_optional(item, "verdict", where, read_verdict),
        )


def _without_none(**values: Any) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}
