"""States of the monitor: persons, events and health at one moment.

All classes are frozen and safe to share between threads.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from fer_edge.monitor.causes import HealthCause
from fer_edge.preprocess import Box

Cause = Literal[
    "new",
    "lost",
    "small",
    "crowded",
    "turned away",
    "covered",
    "too dark",
    "too bright",
    "blurred",
    "unsure",
]
"""Cause of an unknown expression, for programs. ``reason`` is the sentence for people."""

Status = Literal["ok", "degraded", "lost"]
"""Status of the monitor's health, from best to worst."""


@dataclass(frozen=True, slots=True)
class Baseline:
    """Expression at rest, learned during the first seconds of good view.

    Attributes:
        ready: True once learned. It is applied only if ``Settings.use_baseline`` is set.
        seen_s: Seconds of good view so far.
        needed_s: Seconds of good view that learning takes.
        probabilities: Mean probability by label; empty before the first good view.
    """

    ready: bool
    seen_s: float
    needed_s: float
    probabilities: Mapping[str, float]

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "ready": self.ready,
            "seen_s": self.seen_s,
            "needed_s": self.needed_s,
            "probabilities": dict(self.probabilities),
        }


@dataclass(frozen=True, slots=True)
class PersonState:
    """State of one person.

    Attributes:
        person: Number of the person. It survives short losses and is never reused.
        box: ``(x, y, width, height)`` in pixels of the frame; the last known box of a lost face.
        label: Expression after smoothing and hysteresis, or None for unknown.
        confidence: Smoothed probability of the label, 0..1; 0 if unknown.
        probabilities: Smoothed probability by label, or None without a recent good view.
        reason: Sentence for people that explains an unknown expression, else None.
        cause: Word for programs that names the cause of an unknown expression, else None.
        is_driver: True for the driver; see ``Settings.driver_region``.
        since_s: Seconds that the label, or unknown, has held.
        flicker_hz: Changes of the label per second, over the last ten seconds.
        baseline: Progress of the baseline, or None for passengers.
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
        """True if the expression is unknown; ``reason`` explains it.

        Use labels only if False.
        """
        return self.label is None

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
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
    """Expression that held for the time of its EventRule.

    An event is emitted twice: once the expression has held long enough, and when it ends.

    Attributes:
        kind: A label, such as "anger", or "unknown".
        person: Number of the person.
        start_s: Stream time in seconds at which the expression began.
        end_s: Stream time in seconds at which it ended, or None while it lasts.
        confidence: Mean smoothed probability so far, 0..1; 0 for "unknown".
    """

    kind: str
    person: int
    start_s: float
    end_s: float | None
    confidence: float

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "kind": self.kind,
            "person": self.person,
            "start_s": self.start_s,
            "end_s": self.end_s,
            "confidence": self.confidence,
        }


@dataclass(frozen=True, slots=True)
class HealthFinding:
    """One fault of the monitor.

    Attributes:
        cause: Fault, for programs: a text that never changes, with a number (``cause.code``).
        severity: "degraded" or "lost", as for Health.
        reason: Sentence for people. Its figures may change while the fault lasts.
    """

    cause: HealthCause
    severity: Status
    reason: str

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "cause": self.cause.value,
            "code": self.cause.code,
            "severity": self.severity,
            "reason": self.reason,
        }


@dataclass(frozen=True, slots=True)
class Health:
    """Health of the monitor.

    Attributes:
        status: "ok": everything works as configured. "degraded": answers are valid, but fewer,
            older or from another variant than requested. "lost": no answer about the present.
        reasons: One sentence per fault, the worst first.
        findings: The same faults with cause and severity, in the same order.
    """

    status: Status = "ok"
    reasons: tuple[str, ...] = ()
    findings: tuple[HealthFinding, ...] = ()

    @property
    def causes(self) -> Mapping[HealthCause, Status]:
        """Severity by cause. ``on_health`` is called when it changes."""
        return {finding.cause: finding.severity for finding in self.findings}

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "status": self.status,
            "reasons": list(self.reasons),
            "findings": [finding.as_dict() for finding in self.findings],
        }


@dataclass(frozen=True, slots=True)
class MonitorState:
    """State after one frame, or at a moment without a frame.

    Attributes:
        frame_index: Number of the frame in the source, from 0, dropped frames included. Without a
            frame, the number of the last one; -1 before the first.
        time_s: Stream time in seconds. It starts at the source's own time, or at 0 without one.
        age_ms: Milliseconds from the frame's arrival in this process to this answer.
        persons: Persons in the order of their numbers; empty while health is "lost".
        health: Health of the monitor.
        events: Events that began or ended with this state.
        times_ms: Milliseconds of the stages "detect", "predict" and "total"; a skipped stage is
            absent.
        bundle_sha256: SHA-256 of the ``bundle.json`` whose model answers; it also vouches for the
            events of this state.
    """

    frame_index: int
    time_s: float
    age_ms: float
    persons: tuple[PersonState, ...] = ()
    health: Health = Health()
    events: tuple[Event, ...] = ()
    times_ms: Mapping[str, float] = field(default_factory=dict, compare=False)
    bundle_sha256: str = ""

    @property
    def driver(self) -> PersonState | None:
        """The person in the driver's seat region, or None."""
        return next((person for person in self.persons if person.is_driver), None)

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
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
            "bundle_sha256": self.bundle_sha256,
        }
