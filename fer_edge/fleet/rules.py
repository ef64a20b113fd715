"""In-car rules about attention: how long a driver looked away or closed the eyes.

The constants were collected on 2026-11-25. Those marked *secondary* come from texts about a
regulation or protocol, not from its own text: check them before you claim anything with them.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

GLANCE_S = 3.0
"""Seconds of one long glance away. Euro NCAP, Driver Engagement; *secondary*: Forster et al. 2024,
Accident Analysis and Prevention 205, 107684."""
SHARED_S, SHARED_WINDOW_S = 10.0, 30.0
"""Seconds away of the last 30 s above which attention is shared. The source is as above."""
ADDW_FAST_KMH, ADDW_FAST_S = 50.0, 3.5
"""Speed in km/h from which ADDW warns after 3.5 s. Delegated Regulation (EU) 2023/2590;
*secondary*: summaries of it."""
ADDW_SLOW_KMH, ADDW_SLOW_S = 20.0, 6.0
"""Speed in km/h from which ADDW warns after 6 s; source as above. It is off below."""
ADDW_DEGRADED_S = 1.5
"""Seconds by which ADDW may warn later in degraded conditions; source as above."""
CLOSED_S = 2.0
"""Seconds of closed eyes until an alert; *secondary*: summaries of Euro NCAP's protocols."""
CLOSED_BELOW = 0.2
"""Openness (0..1) at or below which an eye counts as closed: 80 % closed. Wierwille et al. 1994, as
quoted by FHWA's Tech Brief FHWA-MCRT-98-006 of 1998."""
PERCLOS_WINDOWS_S = 60.0, 180.0
"""Windows of PERCLOS in seconds: a minute as in Wierwille et al. 1994, and three minutes."""
MIN_KNOWN = 0.5
"""Smallest share (0..1) of a PERCLOS window in which the openness must be known."""
HOLD_S = 0.5
"""Longest time in seconds for which a sample holds. What comes after it is unknown."""

RULES = "glance_away", "shared_attention", "addw", "eyes_closed"


@dataclass(frozen=True)
class Sample:
    """Known facts about the driver's attention at one moment.

    Attributes:
        time_s: Stream time in seconds.
        away: True if the driver looks away from the road; None if unknown.
        distracted: True if the gaze lies in ADDW's distraction area; None takes ``away``.
        eyes_open: Openness of the eyes, 0..1; None if unknown.
        speed_kmh: Speed of the vehicle in km/h; None if unknown, and ADDW then stays off.
        degraded: True in conditions that allow ADDW to warn later.
    """

    time_s: float
    away: bool | None = None
    distracted: bool | None = None
    eyes_open: float | None = None
    speed_kmh: float | None = None
    degraded: bool = False


@dataclass(frozen=True)
class Alert:
    """Alert that a rule asks for.

    Attributes:
        rule: One of RULES.
        start_s: Stream time in seconds at which the behaviour began.
        alert_s: Stream time in seconds of the first sample that fulfils the rule.
        end_s: Stream time in seconds at which it ended, or None at the end of the recording.
        speed_kmh: Speed at the alert, or None.
    """

    rule: str
    start_s: float
    alert_s: float
    end_s: float | None = None
    speed_kmh: float | None = None


def addw_limit_s(speed_kmh: float | None, degraded: bool) -> float | None:
    """Return the seconds until ADDW must warn at a speed; None if never."""
    if speed_kmh is None or speed_kmh < ADDW_SLOW_KMH:
        return None
    limit_s = ADDW_FAST_S if speed_kmh >= ADDW_FAST_KMH else ADDW_SLOW_S
    return limit_s + (ADDW_DEGRADED_S if degraded else 0.0)


class _Window:
    """Share of the last seconds in which a fact was true, and known."""

    def __init__(self, window_s: float) -> None:
        self._window_s = window_s
        self._parts: deque[tuple[float, float, bool]] = deque()

    def add(self, start_s: float, end_s: float, value: bool | None) -> None:
        """Add a stretch of time; None is unknown."""
        if value is not None and end_s > start_s:
            # Stretches that go on are one: a window holds a few, and not each frame.
            last = self._parts[-1] if self._parts else None
            if last is not None and last[1:] == (start_s, value):
                start_s = self._parts.pop()[0]
            self._parts.append((start_s, end_s, value))
        while self._parts and self._parts[0][1] <= end_s - self._window_s:
            self._parts.popleft()

    def seconds(self, now_s: float) -> tuple[float, float]:
        """Return the seconds in which it was true, and those in which it was known."""
        first_s = now_s - self._window_s
        true_s = known_s = 0.0
        for start_s, end_s, value in self._parts:
            lasts_s = max(end_s - max(start_s, first_s), 0.0)
            known_s += lasts_s
            true_s += lasts_s if value else 0.0
        return true_s, known_s


class _Running:
    """One rule: since when the behaviour lasts, and whether it was reported."""

    def __init__(self, rule: str) -> None:
        self._rule = rule
        self._start_s: float | None = None
        self._alert: Alert | None = None

    def step(
        self, now_s: float, lasts: bool, reached: bool, speed_kmh: float | None
    ) -> Alert | None:
        """Advance to one moment; return an alert that ends."""
        if not lasts:
            ended = self.end(now_s)
            self._start_s = None
            return ended
        if self._start_s is None:
            self._start_s = now_s
        if reached and self._alert is None:
            self._alert = Alert(self._rule, self._start_s, now_s, None, speed_kmh)
        return None

    def lasts_s(self, now_s: float) -> float:
        """Return for how many seconds the behaviour has lasted."""
        return 0.0 if self._start_s is None else now_s - self._start_s

    def end(self, end_s: float | None) -> Alert | None:
        """Return the alert that was reported, with its end."""
        alert, self._alert = self._alert, None
        if alert is None:
            return None
        return Alert(alert.rule, alert.start_s, alert.alert_s, end_s, alert.speed_kmh)


@dataclass
class AttentionFigures:
    """Figures of one recording.

    Attributes:
        known_s: Seconds in which it was known where the driver looked.
        away_s: Seconds in which the driver looked away.
        eyes_known_s: Seconds in which the openness of the eyes was known.
        closed_s: Seconds in which the eyes were closed.
        alerts: Number of alerts by rule.
        perclos_max: Largest PERCLOS (0..1) by window, such as "60"; without windows that were not
            known for long enough.
    """

    known_s: float = 0.0
    away_s: float = 0.0
    eyes_known_s: float = 0.0
    closed_s: float = 0.0
    alerts: dict[str, int] = field(default_factory=dict)
    perclos_max: dict[str, float] = field(default_factory=dict)


class AttentionRules:
    """Timers of the rules, fed with samples in the order of their times.

    A sample holds until the next one, at most 0.5 s; after that nothing is known, and every timer
    starts again.
    """

    def __init__(self) -> None:
        self.figures = AttentionFigures()
        self._last: Sample | None = None
        self._now_s = 0.0
        self._running = {rule: _Running(rule) for rule in RULES}
        self._away = _Window(SHARED_WINDOW_S)
        self._closed = {window_s: _Window(window_s) for window_s in PERCLOS_WINDOWS_S}
        self._first_s = 0.0

    def add(self, sample: Sample) -> list[Alert]:
        """Take a sample; return the alerts that end with it."""
        alerts = []
        if self._last is None:
            self._first_s = sample.time_s
        else:
            until_s = min(sample.time_s, self._last.time_s + HOLD_S)
            self._spend(self._last, until_s)
            if until_s < sample.time_s:
                nothing = Sample(until_s)
                alerts += self._step(nothing)
                self._spend(nothing, sample.time_s)
        alerts += self._step(sample)
        self._last = sample
        return alerts

    def end(self) -> list[Alert]:
        """Return the alerts that last until the end of the recording."""
        alerts = [running.end(None) for running in self._running.values()]
        return self._counted([alert for alert in alerts if alert is not None])

    def perclos(self, window_s: float) -> float | None:
        """Return PERCLOS (0..1) over a window, or None if too little is known."""
        if self._now_s - self._first_s < window_s - HOLD_S:
            return None
        closed_s, known_s = self._closed[window_s].seconds(self._now_s)
        return closed_s / known_s if known_s >= MIN_KNOWN * window_s else None

    def _spend(self, sample: Sample, until_s: float) -> None:
        """Count the time for which a sample holds."""
        lasts_s = max(until_s - sample.time_s, 0.0)
        figures, closed = self.figures, _is_closed(sample)
        if sample.away is not None:
            figures.known_s += lasts_s
            figures.away_s += lasts_s if sample.away else 0.0
        if closed is not None:
            figures.eyes_known_s += lasts_s
            figures.closed_s += lasts_s if closed else 0.0
        self._away.add(sample.time_s, until_s, sample.away)
        for window in self._closed.values():
            window.add(sample.time_s, until_s, closed)

    def _step(self, sample: Sample) -> list[Alert]:
        now_s, speed = sample.time_s, sample.speed_kmh
        self._now_s = now_s
        away, closed = bool(sample.away), bool(_is_closed(sample))
        distracted = away if sample.distracted is None else sample.distracted
        limit_s = addw_limit_s(speed, sample.degraded)
        shared_s, _ = self._away.seconds(now_s)
        running = self._running
        steps = {
            "glance_away": (away, running["glance_away"].lasts_s(now_s) >= GLANCE_S - 1e-9),
            "shared_attention": (shared_s > SHARED_S, True),
            "addw": (
                distracted and limit_s is not None,
                limit_s is not None and running["addw"].lasts_s(now_s) >= limit_s - 1e-9,
            ),
            "eyes_closed": (closed, running["eyes_closed"].lasts_s(now_s) >= CLOSED_S - 1e-9),
        }
        ended = [running[rule].step(now_s, *step, speed) for rule, step in steps.items()]
        self._note_perclos()
        return self._counted([alert for alert in ended if alert is not None])

    def _note_perclos(self) -> None:
        largest = self.figures.perclos_max
        for window_s in PERCLOS_WINDOWS_S:
            share = self.perclos(window_s)
            if share is not None:
                name = f"{window_s:g}"
                largest[name] = max(largest.get(name, 0.0), share)

    def _counted(self, alerts: list[Alert]) -> list[Alert]:
        count = self.figures.alerts
        for alert in alerts:
            count[alert.rule] = count.get(alert.rule, 0) + 1
        return alerts


def _is_closed(sample: Sample) -> bool | None:
    return None if sample.eyes_open is None else sample.eyes_open <= CLOSED_BELOW
