"""Rows of the tables from the states of a monitor."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any

from fer_edge.errors import InputError
from fer_edge.fleet.clips import Clip
from fer_edge.fleet.disagreements import Disagreement
from fer_edge.fleet.rules import Alert
from fer_edge.fleet.schema import probability_column
from fer_edge.monitor.state import Event, MonitorState, PersonState

Row = dict[str, Any]


@dataclass(frozen=True)
class RowMaker:
    """Maker of a clip's rows.

    Attributes:
        clip: The clip.
        made_by: The columns ``bundle_sha256``, ``variant`` and ``version``.
    """

    clip: Clip
    made_by: dict[str, str]

    def states(self, state: MonitorState) -> Iterator[Row]:
        """Yield a row for each person, or one without a person."""
        frame: Row = {
            **self._clip(),
            "frame": state.frame_index if state.frame_index >= 0 else None,
            "time_s": state.time_s,
            "time": self._moment(state.time_s),
            "health": state.health.status,
            "health_causes": ";".join(finding.cause.value for finding in state.health.findings),
            "detect_ms": state.times_ms.get("detect"),
            "predict_ms": state.times_ms.get("predict"),
            "total_ms": state.times_ms.get("total"),
            **self.made_by,
        }
        if not state.persons:
            yield frame
        for person in state.persons:
            yield {**frame, **_person(person)}

    def failed(self, error: str, last: MonitorState | None = None) -> Row:
        """Return the row of a clip that failed, or ended early after a state."""
        row: Row = {**self._clip(), "error": error, "health": "lost", **self.made_by}
        if last is not None:
            row |= {"time_s": last.time_s, "time": self._moment(last.time_s)}
        return row

    def disagreement(self, item: Disagreement) -> Row:
        """Return the row of a disagreement with the second bundle."""
        start = self._moment(item.start_s)
        return {**self._clip(), **asdict(item), "start": start, **self.made_by}

    def alert(self, alert: Alert) -> Row:
        """Return the row of an alert."""
        return {
            **self._clip(),
            **asdict(alert),
            "start": self._moment(alert.start_s),
            "source": "head" if self.clip.signals is None else "signals",
            "false_alert": True if self.clip.attentive else None,
            **self.made_by,
        }

    def event(self, event: Event) -> Row:
        """Return the row of an event."""
        return {
            **self._clip(),
            "kind": event.kind,
            "person": event.person,
            "start_s": event.start_s,
            "end_s": event.end_s,
            "start": self._moment(event.start_s),
            "confidence": event.confidence,
            **self.made_by,
        }

    def _clip(self) -> Row:
        return {"drive": self.clip.drive, "clip": self.clip.name, "camera": self.clip.camera}

    def _moment(self, time_s: float) -> Any:
        start = self.clip.start
        try:
            return None if start is None else start + timedelta(seconds=time_s)
        except OverflowError:
            return None


def _person(person: PersonState) -> Row:
    x, y, w, h = person.box
    return {
        "person": person.person,
        "is_driver": person.is_driver,
        "box_x": x,
        "box_y": y,
        "box_w": w,
        "box_h": h,
        "label": person.label,
        "confidence": person.confidence,
        **{probability_column(k): p for k, p in (person.probabilities or {}).items()},
        "since_s": person.since_s,
        "flicker_hz": person.flicker_hz,
        "cause": person.cause,
        "reason": person.reason,
    }


def made_by(identity: dict[str, Any]) -> dict[str, str]:
    """Return the columns that name the model and the program."""
    return {name: identity[name] for name in ("bundle_sha256", "variant", "version")}


class Events:
    """Events of a clip, one for each beginning; the end replaces the beginning."""

    def __init__(self) -> None:
        self._events: dict[tuple[str, int, float], Event] = {}

    def add(self, state: MonitorState) -> None:
        """Take the events of one state."""
        for event in state.events:
            self._events[event.kind, event.person, event.start_s] = event

    def all(self) -> list[Event]:
        """Return the events in the order of their beginning."""
        return [self._events[key] for key in sorted(self._events, key=lambda k: (k[2], k[1], k[0]))]


class Sparse:
    """Choice of the states that are written.

    Args:
        every_s: None writes each state. A number writes the states in which a label, a cause, a
            person or the health changes, and the last one. It also writes a state every ``every_s``
            seconds; infinity adds none.
    """

    def __init__(self, every_s: float | None) -> None:
        self._every_s = every_s
        self._written_s = 0.0
        self._seen: Any = None
        self._left: MonitorState | None = None

    def take(self, state: MonitorState) -> bool:
        """Return True if the state is to be written."""
        if self._every_s is None:
            return True
        seen = (
            state.health.status,
            tuple(state.health.causes),
            tuple((p.person, p.label, p.cause, p.is_driver) for p in state.persons),
        )
        due = state.time_s - self._written_s >= self._every_s - 1e-9
        if seen == self._seen and not due:
            self._left = state
            return False
        self._seen, self._written_s, self._left = seen, state.time_s, None
        return True

    def rest(self) -> MonitorState | None:
        """Return the last state if it was not written."""
        return self._left


def every_seconds(text: str) -> float | None:
    """Read ``frame``, ``change`` or a time such as ``0.2s``.

    Raises:
        InputError: The text is none of these.
    """
    if text == "frame":
        return None
    if text == "change":
        return float("inf")
    number = re.fullmatch(r"(\d+(?:\.\d*)?|\.\d+)\s*(ms|s|min)?", text.strip())
    seconds = float(number[1]) * {"ms": 1e-3, "min": 60.0}.get(number[2], 1.0) if number else 0.0
    if not 0.001 <= seconds <= 86400:
        raise InputError(f"expected --every frame, change or a time like 0.2s, got {text[:40]!r}")
    return seconds
