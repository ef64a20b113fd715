"""Events: expressions that hold for a minimum time."""

from __future__ import annotations

from fer_edge.monitor.settings import EventRule
from fer_edge.monitor.state import Event


class EventTimer:
    """One event rule applied to one person.

    Args:
        rule: The expression, and how long it must hold.
        person: Number of the person, for the events.
    """

    def __init__(self, rule: EventRule, person: int) -> None:
        self._rule = rule
        self._person = person
        self._start_s: float | None = None
        self._last_s = 0.0
        self._reported = False
        self._held_s = 0.0
        self._confidence = 0.0

    def step(self, kind: str | None, confidence: float, time_s: float) -> Event | None:
        """Advance to one moment; return an event that begins or ends.

        Args:
            kind: A label, "unknown", or None once the person is gone.
            confidence: Smoothed probability of the label, 0..1; 0 for "unknown".
            time_s: Stream time, in seconds.

        Returns:
            An event without an end once the expression has held for ``rule.min_s`` seconds, the
            same event with its end when the expression changes, else None.
        """
        if kind != self._rule.kind:
            ended = self._event(time_s) if self._reported else None
            self._start_s, self._reported = None, False
            return ended
        if self._start_s is None:
            self._start_s = self._last_s = time_s
            self._held_s, self._confidence = 0.0, confidence
        passed = time_s - self._last_s
        self._last_s = time_s
        if passed > 0:
            self._held_s += passed
            self._confidence += (confidence - self._confidence) * passed / self._held_s
        if not self._reported and time_s - self._start_s >= self._rule.min_s - 1e-9:
            self._reported = True
            return self._event(None)
        return None

    def _event(self, end_s: float | None) -> Event:
        assert self._start_s is not None
        return Event(self._rule.kind, self._person, self._start_s, end_s, self._confidence)
