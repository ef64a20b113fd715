"""Expression filter of one person: smoothing, hysteresis, dwell, baseline, events."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence

import numpy as np

from fer_edge.monitor.baseline import BaselineLearner, Probabilities
from fer_edge.monitor.events import EventTimer
from fer_edge.monitor.quality import QualityIssue
from fer_edge.monitor.settings import Settings
from fer_edge.monitor.state import Event, PersonState
from fer_edge.preprocess import Box

_FLICKER_S = 10.0
"""Seconds over which ``flicker_hz`` counts changes of the label."""


class ExpressionFilter:
    """Turns the observations of one person into a label that holds still.

    Args:
        person: Number of the person, for states and events.
        labels: The bundle's labels, in the order of the probabilities.
        settings: Times and thresholds.
        known_above: Smoothed probability (0..1) from which a label is known.
    """

    def __init__(
        self, person: int, labels: Sequence[str], settings: Settings, known_above: float
    ) -> None:
        self.person = person
        self.baseline: BaselineLearner | None = None
        self._labels = tuple(labels)
        self._settings = settings
        self.known_above = known_above
        self._smoothed: Probabilities | None = None
        self._good_s = -math.inf
        self._issue: QualityIssue = ("new", "no good view of the face yet")
        self._label: int | None = None
        self._had_label = False
        self._since_s: float | None = None
        self._rival: int | None = None
        self._rival_since_s: float | None = None
        self._changes: deque[float] = deque()
        self._events = [EventTimer(rule, person) for rule in settings.event_rules(labels)]
        self._now_s = self._first_s = -math.inf

    def learn_baseline(self) -> None:
        """Start to learn the baseline, unless that has started already."""
        if self.baseline is None:
            self.baseline = BaselineLearner(self._labels, self._settings.baseline_s)

    def observe(
        self, time_s: float, probabilities: Probabilities | None, issue: QualityIssue | None
    ) -> list[Event]:
        """Take one observation; return the events that begin or end with it.

        Args:
            time_s: Stream time of the frame, in seconds.
            probabilities: float64 ``[C]``, or None.
            issue: The reason why there are no probabilities. If both are None, the face was
                not classified in this frame.
        """
        if self._since_s is None:
            self._since_s = self._first_s = time_s
        if issue is not None:
            self._issue = issue
        elif probabilities is not None:
            self._smooth(time_s, probabilities)
        self._now_s = time_s
        self._decide(time_s)
        kind = "unknown" if self._label is None else self._labels[self._label]
        events = (timer.step(kind, self._confidence(), time_s) for timer in self._events)
        return [event for event in events if event is not None]

    def end(self, time_s: float) -> list[Event]:
        """End all running events, because the person is gone."""
        events = (timer.step(None, 0.0, time_s) for timer in self._events)
        return [event for event in events if event is not None]

    def state(self, box: Box, is_driver: bool) -> PersonState:
        """Return the person's state now; ``box`` is in pixels of the frame."""
        fresh = self._now_s - self._good_s <= self._settings.hold_s
        smoothed = self._smoothed if fresh else None
        cause, reason = self._issue
        return PersonState(
            person=self.person,
            box=box,
            label=None if self._label is None else self._labels[self._label],
            confidence=self._confidence(),
            probabilities=(
                None
                if smoothed is None
                else dict(zip(self._labels, smoothed.tolist(), strict=True))
            ),
            reason=reason if self._label is None else None,
            cause=cause if self._label is None else None,
            is_driver=is_driver,
            since_s=self._now_s - (self._since_s or 0.0),
            flicker_hz=self._flicker_hz(),
            baseline=None if self.baseline is None else self.baseline.state(),
        )

    def _confidence(self) -> float:
        if self._label is None or self._smoothed is None:
            return 0.0
        return float(self._smoothed[self._label])

    def _smooth(self, time_s: float, probabilities: Probabilities) -> None:
        passed = time_s - self._good_s
        fresh = passed <= self._settings.hold_s
        if self.baseline is not None:
            self.baseline.learn(probabilities, passed if fresh else 0.0)
            if self._settings.use_baseline:
                probabilities = self.baseline.relative(probabilities)
        if self._smoothed is None or not fresh:
            self._smoothed = probabilities.astype(np.float64)
        else:
            keep = math.exp(-max(passed, 0.0) / self._settings.smooth_s)
            self._smoothed = keep * self._smoothed + (1.0 - keep) * probabilities
        self._good_s = time_s

    def _decide(self, time_s: float) -> None:
        if time_s - self._good_s > self._settings.hold_s:
            self._rival_since_s = None
            self._change(None, time_s)
            return
        leader = self._leader()
        if leader == self._label:
            self._rival_since_s = None
        elif self._rival_since_s is None or leader != self._rival:
            self._rival, self._rival_since_s = leader, time_s
        if self._rival_since_s is not None:
            led_s = time_s - self._rival_since_s
            if led_s >= self._settings.dwell_s - 1e-9:
                self._change(leader, time_s)
                self._rival_since_s = None
            elif self._label is None:
                self._issue = (
                    "new",
                    f"a new expression has led for {led_s:.1f} s; "
                    f"{self._settings.dwell_s:.1f} s are required",
                )
        if self._label is None and self._rival_since_s is None:
            assert self._smoothed is not None
            self._issue = (
                "unsure",
                f"the model is unsure: smoothed confidence {self._smoothed.max():.2f} is below "
                f"{self.known_above:.2f}",
            )

    def _leader(self) -> int | None:
        """Return the leading label with hysteresis, or None if unsure."""
        assert self._smoothed is not None
        top = int(self._smoothed.argmax())
        if self._label is not None:
            current = self._smoothed[self._label]
            lead = self._smoothed[top] - current
            if lead < self._settings.hysteresis and (
                current >= self.known_above - self._settings.hysteresis
            ):
                return self._label
        return top if self._smoothed[top] >= self.known_above - 1e-6 else None

    def _change(self, label: int | None, time_s: float) -> None:
        if label == self._label:
            return
        self._label, self._since_s = label, time_s
        if self._had_label:  # the first one is not a change
            self._changes.append(time_s)
        self._had_label = True

    def _flicker_hz(self) -> float:
        while self._changes and self._changes[0] < self._now_s - _FLICKER_S:
            self._changes.popleft()
        watched_s = min(self._now_s - self._first_s, _FLICKER_S)
        return len(self._changes) / max(watched_s, 1.0)  # below a second, a rate means little
