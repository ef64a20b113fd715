"""What the monitor says about one moment. All of it is frozen and may be shared by threads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from fer_edge.preprocess import Box

Cause = Literal[
    "new", "lost", "small", "crowded", "turned away", "covered",
    "too dark", "too bright", "blurred", "unsure",
]  # fmt: skip
"""Why an expression is unknown, for programs; ``reason`` is the sentence."""

Status = Literal["ok", "degraded", "lost"]


@dataclass(frozen=True, slots=True)
class Baseline:
    """What a person looks like at rest, learned from the first seconds of good view.

    ready: it is learned, and in use where the monitor was told to. seen_s, needed_s: seconds of
    good view so far, and those that it takes. probabilities: the mean by label, empty at first.
    """

    ready: bool
    seen_s: float
    needed_s: float
    probabilities: Mapping[str, float]

    def as_dict(self) -> dict[str, Any]:
        return {
            "ready": self.ready,
            "seen_s": self.seen_s,
            "needed_s": self.needed_s,
            "probabilities": dict(self.probabilities),
        }


@dataclass(frozen=True, slots=True)
class PersonState:
    """One person now.

    person: stays with the person across short losses, and is never given to another.
    box: ``(x, y, width, height)`` in pixels of the frame; if the face is lost, where it was last.
    label: the expression after smoothing and hysteresis, or None for "unknown".
    confidence: its smoothed probability, 0..1; 0 if unknown.
    probabilities: smoothed, by label; None while there is nothing recent to smooth.
    reason, cause: why the expression is unknown, as a sentence and as a word for programs; None if
    it is known. is_driver: sits in the driver's seat region. since_s: for how many seconds this
    label, or unknown, has held. flicker_hz: changes of the label per second, over the last ten.
    baseline: None where the monitor learns none (passengers).
    """

    person: int
    box: Box
    label: str | None
    confidence: float
    probabilities: Mapping[str, float] | None
    reason: str | None
    cause: Cause | None
    is_driver: bool
    since_s: float
    flicker_hz: float
    baseline: Baseline | None

    @property
    def uncertain(self) -> bool:
        """True means "I don't know", and ``reason`` says why. Act on a label only if False."""
        return self.label is None

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "person": self.person,
            "box": list(self.box),
            "label": self.label,
            "confidence": self.confidence,
            "probabilities": None if self.probabilities is None else dict(self.probabilities),
            "uncertain": self.uncertain,
            "reason": self.reason,
            "cause": self.cause,
            "is_driver": self.is_driver,
            "since_s": self.since_s,
            "flicker_hz": self.flicker_hz,
            "baseline": None if self.baseline is None else self.baseline.as_dict(),
        }


@dataclass(frozen=True, slots=True)
class Event:
    """Something that held long enough, told once when that is so and once when it ends.

    kind: a label ("anger"), or "unknown". start_s, end_s: stream time at which it began and ended,
    end_s None while it lasts. confidence: the mean smoothed probability so far; 0 for "unknown".
    """

    kind: str
    person: int
    start_s: float
    end_s: float | None
    confidence: float

    def as_dict(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "person": self.person,
            "start_s": self.start_s,
            "end_s": self.end_s,
            "confidence": self.confidence,
        }


@dataclass(frozen=True, slots=True)
class Health:
    """Whether the answers can be relied on.

    ok: all as configured. degraded: answers are right, but fewer, older or from another variant
    than wanted. lost: there is no answer about the present. reasons: a sentence for each cause.
    """

    status: Status = "ok"
    reasons: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        return {"status": self.status, "reasons": list(self.reasons)}


@dataclass(frozen=True, slots=True)
class MonitorState:
    """All that is known after one frame, or about a moment without one.

    frame_index: the source's frames counted from 0, dropped ones included; that of the last frame
    where none came. time_s: stream time, from the first frame: a file's own, else the clock's.
    age_ms: from the frame's arrival in this process to this answer. persons: by person number;
    empty while health is "lost". events: those that began or ended now. times_ms: ``detect``,
    ``predict``, ``total`` of this frame; a stage that was skipped is absent.
    """

    frame_index: int
    time_s: float
    age_ms: float
    persons: tuple[PersonState, ...] = ()
    health: Health = Health()
    events: tuple[Event, ...] = ()
    times_ms: Mapping[str, float] = field(default_factory=dict, compare=False)

    @property
    def driver(self) -> PersonState | None:
        """The person in the driver's seat region, or None."""
        return next((person for person in self.persons if person.is_driver), None)

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        driver = self.driver
        return {
            "frame_index": self.frame_index,
            "time_s": self.time_s,
            "age_ms": self.age_ms,
            "persons": [person.as_dict() for person in self.persons],
            "driver": None if driver is None else driver.person,
            "health": self.health.as_dict(),
            "events": [event.as_dict() for event in self.events],
            "times_ms": dict(self.times_ms),
        }
