"""Verdict of the parity gate: its checks, each with a 95 % interval.

docs/reference/bundle-format.md specifies every key. The readers are strict, as in parity.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from fer_edge.json_check import (
    read_count,
    read_integer,
    read_list,
    read_number,
    read_object,
    read_optional,
    read_share,
    read_text,
)

PASSED, FAILED, UNDECIDED = "passed", "failed", "not enough faces to tell"
VERDICTS = (PASSED, FAILED, UNDECIDED)
FP32, QUANTISED = "fp32 network", "quantised network"
"""References of a comparison: the network in fp32, or the quantised network in torch."""


@dataclass(frozen=True)
class Check:
    """One figure of a comparison, with its 95 % interval and any limit.

    Attributes:
        name: ``agreement``, ``answered_agreement``, ``accuracy_change``, ``ece_change`` or
            ``recall_change.LABEL``.
        value: Observed figure.
        low: Lower end of the interval.
        high: Upper end of the interval.
        faces: Number of faces that the figure is over.
        limit: Limit; None for a figure that is reported and not judged.
        verdict: One of VERDICTS; None for a figure that is not judged.
        faces_needed: Own faces of the gate, without copies of them, that would tell at the same
            rates; None if the verdict is clear, or if no practical number would tell.
    """

    name: str
    value: float
    low: float
    high: float
    faces: int
    limit: float | None = None
    verdict: str | None = None
    faces_needed: int | None = None

    @property
    def within(self) -> bool:
        """True if the observed figure keeps the limit, whatever the interval says."""
        if self.limit is None:
            return True
        return self.value <= self.limit if self.name == "ece_change" else self.value >= self.limit

    def __str__(self) -> str:
        kind, _, label = self.name.partition(".")
        figures = _FORMS[kind].format(
            value=_in_unit(kind, self.value),
            low=_in_unit(kind, self.low),
            label=label,
            high=_in_unit(kind, self.high),
        )
        if self.limit is None:
            return figures
        needed = "is needed" if kind.endswith("agreement") else "is allowed"
        return f"{figures}, {_in_unit(kind, self.limit)} {needed}"

    @property
    def doubt(self) -> str:
        """Sentence on the faces that would tell, for an undecided check."""
        if not self.faces:
            return "no face of the gate is answered: other faces are needed"
        if self.faces_needed is None:
            return f"{self}: no practical number of faces tells, as the figure is at its limit"
        return f"{self}: {self.faces_needed:,} faces would tell"

    def as_dict(self) -> dict[str, Any]:
        """Return the JSON form, without what is None."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        return {key: value for key, value in values.items() if value is not None}

    @classmethod
    def parse(cls, value: Any, where: str) -> Check:
        """Read the check strictly; see ParityReport.parse."""
        required = ("name", "value", "low", "high", "faces")
        item = read_object(value, where, required, ("limit", "verdict", "faces_needed"))
        name = read_text(item["name"], f"{where}.name")
        kind, dot, label = name.partition(".")
        if kind not in _FORMS or (kind == "recall_change") != bool(dot and label):
            raise ValueError(f"expected the name of a check in {where}.name, got {name[:80]!r}")
        figures = {
            key: read_number(item[key], f"{where}.{key}", -1, 1) for key in ("value", "low", "high")
        }
        return cls(
            name,
            **figures,
            faces=_count(item["faces"], f"{where}.faces"),
            limit=read_optional(item, "limit", where, lambda v, at: read_number(v, at, -1, 1)),
            verdict=read_optional(item, "verdict", where, read_verdict),
            faces_needed=read_optional(item, "faces_needed", where, read_count),
        )


_FORMS = {
    "agreement": "{value} of all decisions agree ({low} to {high})",
    "answered_agreement": "{value} of the answered decisions are kept ({low} to {high})",
    "accuracy_change": "accuracy changes by {value} points ({low} to {high})",
    "ece_change": "the ECE changes by {value} ({low} to {high})",
    "recall_change": "recall of {label} changes by {value} points ({low} to {high})",
}


def _in_unit(kind: str, value: float) -> str:
    if kind == "ece_change":
        return f"{value:+.4f}"
    return f"{100 * value:.2f} %" if kind.endswith("agreement") else f"{100 * value:+.2f}"


@dataclass(frozen=True)
class Flips:
    """Faces whose decision changed, and how sure the reference was of them.

    The margin is the reference's top probability minus its second.

    Attributes:
        faces: Number of faces with another decision than the reference's.
        answered: Number among them that the reference or the variant answers.
        margin_p50: Median margin (0..1); 0 without flips.
        margin_max: Largest margin (0..1); 0 without flips.
    """

    faces: int
    answered: int
    margin_p50: float
    margin_max: float

    @classmethod
    def parse(cls, value: Any, where: str) -> Flips:
        """Read the record strictly; see ParityReport.parse."""
        item = read_object(value, where, tuple(each.name for each in fields(cls)))
        return cls(
            faces=_count(item["faces"], f"{where}.faces"),
            answered=_count(item["answered"], f"{where}.answered"),
            margin_p50=read_share(item["margin_p50"], f"{where}.margin_p50"),
            margin_max=read_share(item["margin_max"], f"{where}.margin_max"),
        )


@dataclass(frozen=True)
class Judgement:
    """Verdict on a variant, and the checks that it rests on.

    Attributes:
        verdict: One of VERDICTS.
        reference: What the variant was compared with, FP32 or QUANTISED.
        abstain_below: Confidence (0..1) from which a decision counts as answered.
        checks: Figures with their intervals.
        flips: Faces whose decision changed.
    """

    verdict: str
    reference: str
    abstain_below: float
    checks: tuple[Check, ...]
    flips: Flips

    def check(self, name: str) -> Check:
        """Return a check by its name. Raises KeyError."""
        return {check.name: check for check in self.checks}[name]

    @property
    def undecided(self) -> tuple[Check, ...]:
        """Checks that more faces would decide."""
        return tuple(check for check in self.checks if check.verdict == UNDECIDED)

    @property
    def faces_needed(self) -> int | None:
        """Faces that would decide every check; None if none is open, or no number would."""
        needed = [check.faces_needed for check in self.undecided]
        return None if None in needed else max((n for n in needed if n), default=None)

    @property
    def warning(self) -> str | None:
        """Sentence on an undecided verdict; None for another one."""
        if self.verdict != UNDECIDED:
            return None
        return f"{UNDECIDED}: {'; '.join(check.doubt for check in self.undecided)}"

    def as_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "verdict": self.verdict,
            "reference": self.reference,
            "abstain_below": self.abstain_below,
            "checks": [check.as_dict() for check in self.checks],
            "flips": dict(vars(self.flips)),
        }

    @classmethod
    def parse(cls, value: Any, where: str) -> Judgement:
        """Read the JSON form strictly; see ParityReport.parse."""
        item = read_object(value, where, tuple(each.name for each in fields(cls)))
        return cls(
            verdict=read_verdict(item["verdict"], f"{where}.verdict"),
            reference=_one_of(item["reference"], f"{where}.reference", (FP32, QUANTISED)),
            abstain_below=read_share(item["abstain_below"], f"{where}.abstain_below"),
            checks=read_list(item["checks"], f"{where}.checks", Check.parse),
            flips=Flips.parse(item["flips"], f"{where}.flips"),
        )


def overall(checks: Sequence[Check]) -> str:
    """Return the verdict that checks give together: the worst of theirs."""
    verdicts = {check.verdict for check in checks}
    return next((v for v in (FAILED, UNDECIDED) if v in verdicts), PASSED)


def read_verdict(value: Any, where: str) -> str:
    """Read one of VERDICTS."""
    return _one_of(value, where, VERDICTS)


def _count(value: Any, where: str) -> int:
    return read_integer(value, where, 0, 2**53)


def _one_of(value: Any, where: str, known: tuple[str, ...]) -> str:
    text = read_text(value, where)
    if text not in known:
        raise ValueError(f"expected one of {', '.join(known)} in {where}, got {text[:80]!r}")
    return text
