"""One person over time: smoothing, hysteresis, dwell, doubt, baseline and events."""

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


class ExpressionFilter:
    """Feed it what was seen at each frame; it says what to believe.

    known_above: smoothed probability from which a label is known.
    """

    def __init__(
        self, person: int, labels: Sequence[str], settings: Settings, known_above: float
    ) -> None:
        self.person = person
        self.baseline: BaselineLearner | None = None
        self._labels = tuple(labels)
        self._settings = settings
        self._known_above = known_above
        self._smoothed: Probabilities | None = None
        self._good_s = -math.inf
        self._doubt: QualityIssue = ("new", "the face was not seen well yet")
        self._label: int | None = None
        self._since_s: float | None = None
        self._rival: int | None = None
        self._rival_since_s: float | None = None
        self._changes: deque[float] = deque()
        self._events = [EventTimer(rule, person) for rule in settings.events]
        self._now_s = self._first_s = -math.inf

    def learn_baseline(self) -> None:
        """From now on, unless it already does."""
        if self.baseline is None:
            self.baseline = BaselineLearner(self._labels, self._settings.baseline_s)

    def observe(
        self, time_s: float, probabilities: Probabilities | None, doubt: QualityIssue | None
    ) -> list[Event]:
        """What one frame showed: probabilities, or why there are none, or neither if nobody looked.

        Gives the events that began or ended with it.
        """
        if self._since_s is None:
            self._since_s = self._first_s = time_s
        if doubt is not None:
            self._doubt = doubt
        elif probabilities is not None:
            self._smooth(time_s, probabilities)
        self._now_s = time_s
        self._decide(time_s)
        kind = "unknown" if self._label is None else self._labels[self._label]
        told = (running.step(kind, self._confidence(), time_s) for running in self._events)
        return [event for event in told if event is not None]

    def end(self, time_s: float) -> list[Event]:
        """The person is gone: what lasted ends."""
        told = (running.step(None, 0.0, time_s) for running in self._events)
        return [event for event in told if event is not None]

    def state(self, box: Box, is_driver: bool) -> PersonState:
        fresh = self._now_s - self._good_s <= self._settings.hold_s
        smoothed = self._smoothed if fresh else None
        cause, reason = self._doubt
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
        wanted = self._wanted()
        if wanted == self._label:
            self._rival_since_s = None
        elif self._rival_since_s is None or wanted != self._rival:
            self._rival, self._rival_since_s = wanted, time_s
        if self._rival_since_s is not None:
            led_s = time_s - self._rival_since_s
            if led_s >= self._settings.dwell_s - 1e-9:
                self._change(wanted, time_s)
                self._rival_since_s = None
            elif self._label is None:
                self._doubt = (
                    "new",
                    f"an expression shows since {led_s:.1f} s, expected "
                    f"{self._settings.dwell_s:.1f} s",
                )
        if self._label is None and self._rival_since_s is None:
            assert self._smoothed is not None
            self._doubt = (
                "unsure",
                f"the model is unsure: smoothed confidence {self._smoothed.max():.2f} is below "
                f"{self._known_above:.2f}",
            )

    def _wanted(self) -> int | None:
        """The label that the smoothed probabilities speak for, with hysteresis; None is unsure."""
        assert self._smoothed is not None
        top = int(self._smoothed.argmax())
        if self._label is not None:
            kept = self._smoothed[self._label]
            leads = self._smoothed[top] - kept
            if leads < self._settings.hysteresis and (
                kept >= self._known_above - self._settings.hysteresis
            ):
                return self._label
        return top if self._smoothed[top] >= self._known_above - 1e-6 else None

    def _change(self, label: int | None, time_s: float) -> None:
        if label == self._label:
            return
        self._label, self._since_s = label, time_s
        self._changes.append(time_s)

    def _flicker_hz(self) -> float:
        while self._changes and self._changes[0] < self._now_s - _FLICKER_S:
            self._changes.popleft()
        watched_s = min(self._now_s - self._first_s, _FLICKER_S)
        # The first label that is found is no flicker, and one second is the least to judge by.
        first = self._first_s >= self._now_s - _FLICKER_S
        changes = len(self._changes) - (1 if first and self._changes else 0)
        return changes / max(watched_s, 1.0)
