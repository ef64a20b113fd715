"""Figures of one clip: plain values that a drive sums."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

from fer_edge.fleet.rules import AttentionFigures
from fer_edge.monitor.state import Event, MonitorState

GAP_S = 0.5
"""Longest step in seconds between two frames. The rest of a longer one counts as no frame."""
_BUCKETS = 20
"""Latency buckets per factor of ten. A figure is at most 12 % too high."""
_USUAL_STEPS = 512


@dataclass
class Tally:
    """Figures of one clip.

    Attributes:
        frames: Answered frames.
        stream_s: Seconds from the first frame to the end of the last one.
        valid_s: Seconds with a known expression of the driver.
        missing_s: Seconds without one, by cause.
        label_s: Seconds by the driver's label.
        first_answer_s: Seconds from the first frame to the first known expression, or None.
        changes: Changes from one known expression of the driver to another one.
        events: Number of events by kind.
        event_s: Seconds of the events by kind, to the end of the clip where they last.
        latency: Number of answers by bucket of the total time.
        most_ms: Longest total time in milliseconds.
        attention: Figures of the in-car rules, as ``AttentionFigures``.
    """

    frames: int = 0
    stream_s: float = 0.0
    valid_s: float = 0.0
    missing_s: dict[str, float] = field(default_factory=dict)
    label_s: dict[str, float] = field(default_factory=dict)
    first_answer_s: float | None = None
    changes: int = 0
    events: dict[str, int] = field(default_factory=dict)
    event_s: dict[str, float] = field(default_factory=dict)
    latency: dict[str, int] = field(default_factory=dict)
    most_ms: float = 0.0
    attention: dict[str, Any] = field(default_factory=lambda: asdict(AttentionFigures()))

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)

    def count(self, state: MonitorState, passed_s: float) -> None:
        """Count one state that holds for ``passed_s`` seconds."""
        gap_s = max(passed_s - GAP_S, 0.0)
        _add(self.missing_s, "no_frame", gap_s)
        lasts_s = passed_s - gap_s
        self.stream_s += passed_s
        driver = state.driver
        if driver is not None and driver.label is not None:
            self.valid_s += lasts_s
            _add(self.label_s, driver.label, lasts_s)
        else:
            _add(self.missing_s, missing_cause(state), lasts_s)

    def time(self, total_ms: float) -> None:
        """Count the total time of one answer."""
        bucket = str(math.ceil(_BUCKETS * math.log10(max(total_ms, 1e-3))))
        self.latency[bucket] = self.latency.get(bucket, 0) + 1
        self.most_ms = max(self.most_ms, total_ms)


class Counting:
    """Counter of a clip's states; each holds until the next one."""

    def __init__(self) -> None:
        self.tally = Tally()
        self._first_s: float | None = None
        self._last: MonitorState | None = None
        self._index = -1
        self._steps: list[float] = []
        self._label: str | None = None

    def add(self, state: MonitorState) -> None:
        """Count one state."""
        tally = self.tally
        if self._first_s is None:
            self._first_s = state.time_s
        if self._last is not None:
            passed_s = max(state.time_s - self._last.time_s, 0.0)
            tally.count(self._last, passed_s)
            if len(self._steps) < _USUAL_STEPS and 0 < passed_s <= GAP_S:
                self._steps.append(passed_s)
        self._last = state
        if state.frame_index > self._index:
            self._index = state.frame_index
            tally.frames += 1
            if "total" in state.times_ms:
                tally.time(state.times_ms["total"])
        label = state.driver.label if state.driver else None
        if label is not None:
            if tally.first_answer_s is None:
                tally.first_answer_s = state.time_s - self._first_s
            tally.changes += self._label not in (None, label)
            self._label = label

    def end(self, events: list[Event]) -> Tally:
        """Count the last state for a usual step, and the events; return the figures."""
        tally, end_s = self.tally, 0.0
        if self._last is not None:
            steps = sorted(self._steps)
            usual_s = steps[len(steps) // 2] if steps else 0.0
            tally.count(self._last, usual_s)
            end_s = self._last.time_s + usual_s
        tally.events = dict(sorted(Counter(event.kind for event in events).items()))
        for event in events:
            ended_s = end_s if event.end_s is None else event.end_s
            _add(tally.event_s, event.kind, ended_s - event.start_s)
        for sums in (tally.missing_s, tally.label_s, tally.event_s):
            ordered = sorted(sums.items())
            sums.clear()
            sums.update((name, value) for name, value in ordered if value > 0)
        return tally


def missing_cause(state: MonitorState) -> str:
    """Return why a state has no known expression of the driver: one word for programs."""
    if state.health.status == "lost":
        return state.health.findings[0].cause.value
    if state.driver is None:
        return "nobody"
    return state.driver.cause or "unknown"


def quantile_ms(latency: dict[str, int], share: float) -> float | None:
    """Return the upper end of the bucket that holds a quantile, in milliseconds."""
    total = sum(latency.values())
    reached = 0
    for bucket in sorted(map(int, latency)):
        reached += latency[str(bucket)]
        if reached >= share * total:
            return bucket_ms(bucket)
    return None


def bucket_ms(bucket: int) -> float:
    """Return the upper end of a bucket in milliseconds."""
    return float(10 ** (bucket / _BUCKETS))


def _add(sums: dict[str, float], name: str, value: float) -> None:
    sums[name] = sums.get(name, 0.0) + value
