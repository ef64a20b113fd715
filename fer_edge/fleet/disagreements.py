"""Disagreements of two bundles over one clip."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from fer_edge.monitor.state import MonitorState, PersonState

MOST_KEPT = 5
"""Longest disagreements of a clip that its report keeps, for ``report.html``."""


@dataclass
class Disagreement:
    """Stretch of time in which two bundles say different things about a person.

    Attributes:
        person: Number of the person, the same for both.
        is_driver: True if the person was the driver as it began.
        start_s: Stream time in seconds of the first frame.
        end_s: Stream time in seconds of the first frame after it, or of the last frame.
        frames: Number of frames.
        label: Expression by the first bundle, or None for unknown.
        label_against: Expression by the second one.
        confidence: Mean smoothed probability of ``label``, 0..1.
        confidence_against: The same of ``label_against``.
    """

    person: int
    is_driver: bool
    start_s: float
    end_s: float
    frames: int
    label: str | None
    label_against: str | None
    confidence: float
    confidence_against: float

    def add(self, one: PersonState, other: PersonState) -> None:
        """Add a frame to the means."""
        self.frames += 1
        self.confidence += (one.confidence - self.confidence) / self.frames
        self.confidence_against += (other.confidence - self.confidence_against) / self.frames


class Comparison:
    """Comparison of two monitors that watch the same clip, frame by frame."""

    def __init__(self) -> None:
        self._running: dict[int, Disagreement] = {}
        self._longest: list[Disagreement] = []
        self._seconds = dict.fromkeys(("both_s", "differ_s", "only_s", "only_against_s"), 0.0)
        self._last: tuple[MonitorState, MonitorState] | None = None
        self._count = 0

    def add(self, state: MonitorState, other: MonitorState) -> list[Disagreement]:
        """Take the states of one frame; return the disagreements that end with it."""
        if self._last is not None:
            self._time(*self._last, min(max(state.time_s - self._last[0].time_s, 0.0), 0.5))
        self._last = state, other
        others = {person.person: person for person in other.persons}
        pairs = {p.person: (p, others[p.person]) for p in state.persons if p.person in others}
        ended = []
        for number in sorted(self._running):
            running = self._running[number]
            pair = pairs.get(number)
            labels = (running.label, running.label_against)
            if pair is None or (pair[0].label, pair[1].label) != labels:
                ended.append(self._end(number, state.time_s))
        for number, (one, two) in pairs.items():
            if one.label == two.label:
                continue
            running = self._running.setdefault(
                number,
                Disagreement(
                    number, one.is_driver, state.time_s, state.time_s, 0, one.label, two.label, 0, 0
                ),
            )
            running.add(one, two)
        return ended

    def end(self) -> list[Disagreement]:
        """Return the disagreements that last until the end of the clip."""
        time_s = self._last[0].time_s if self._last else 0.0
        return [self._end(number, time_s) for number in sorted(self._running)]

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON: seconds of the driver, and the longest disagreements.

        ``both_s``: both know the expression; ``differ_s``: and say different things;
        ``only_s``, ``only_against_s``: one alone knows it.
        """
        longest = [asdict(item) for item in self._longest]
        return {**self._seconds, "disagreements": self._count, "longest": longest}

    def _time(self, state: MonitorState, other: MonitorState, passed_s: float) -> None:
        one = state.driver.label if state.driver else None
        two = other.driver.label if other.driver else None
        if one is not None and two is not None:
            self._seconds["both_s"] += passed_s
            self._seconds["differ_s"] += passed_s if one != two else 0.0
        elif one is not None:
            self._seconds["only_s"] += passed_s
        elif two is not None:
            self._seconds["only_against_s"] += passed_s

    def _end(self, number: int, time_s: float) -> Disagreement:
        item = self._running.pop(number)
        item.end_s = time_s
        self._count += 1
        self._longest.append(item)
        self._longest.sort(key=lambda one: (one.start_s - one.end_s, one.start_s, one.person))
        del self._longest[MOST_KEPT:]
        return item
