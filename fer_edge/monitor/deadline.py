"""Deadline scheduler for live frames."""

from __future__ import annotations

import math
from collections.abc import Callable

from fer_edge.monitor.causes import HealthCause
from fer_edge.monitor.health import HealthMonitor

_LATE_S = 1.0
"""Seconds that health stays "degraded" after a late answer."""
_NEWEST = 0.2
"""Weight (0..1) of the newest duration in the running mean of a stage."""


class DeadlineScheduler:
    """Skips stages that would make the answer late, and reports late answers.

    Args:
        clock: Returns seconds that never run back.
        health: Gets skipped stages and late answers as the part "deadline".
        deadline_s: Oldest allowed age of an answer, in seconds. None for files: no deadline.
    """

    def __init__(
        self, clock: Callable[[], float], health: HealthMonitor, deadline_s: float | None
    ) -> None:
        self.times_ms: dict[str, float] = {}
        """Duration of each stage of this frame, in milliseconds."""
        self._clock = clock
        self._health = health
        self._deadline_s = deadline_s
        self._usual_s: dict[str, float] = {}
        self._skipped: set[str] = set()
        self._arrived_s = clock()
        self._index = -1
        self._late_s = -math.inf

    @property
    def age_s(self) -> float:
        """Seconds since the last frame arrived."""
        return max(self._clock() - self._arrived_s, 0.0)

    def begin(self, index: int, arrived_s: float) -> None:
        """Start a frame that arrived at ``arrived_s`` on the clock."""
        self._index, self._arrived_s = index, arrived_s
        self.times_ms = {}

    def should_skip(self, stage: str) -> bool:
        """Return True if the stage would make this answer late.

        A stage is never skipped twice in a row: a slow machine would never answer.
        """
        if self._deadline_s is None:
            return False
        late = self.age_s + self._usual_s.get(stage, 0.0) > self._deadline_s
        if not late or stage in self._skipped:
            self._skipped.discard(stage)
            return False
        self._skipped.add(stage)
        self._report(
            f"frame {self._index} skipped '{stage}' to meet the deadline of "
            f"{1e3 * self._deadline_s:.0f} ms"
        )
        return True

    def took(self, stage: str, start_s: float) -> None:
        """Record a stage that began at ``start_s`` and ends now."""
        took_s = self._clock() - start_s
        self.times_ms[stage] = 1e3 * took_s
        usual_s = self._usual_s.setdefault(stage, took_s)
        self._usual_s[stage] = usual_s + _NEWEST * (took_s - usual_s)

    def end(self) -> None:
        """Report a late answer, or clear the report after timely ones."""
        if self._deadline_s is None:
            return
        if (age_s := self.age_s) > self._deadline_s:
            self._report(
                f"the answer to frame {self._index} was {1e3 * age_s:.0f} ms old; at most "
                f"{1e3 * self._deadline_s:.0f} ms are allowed"
            )
        elif self._clock() - self._late_s > _LATE_S:
            self._health.clear("deadline")

    def _report(self, reason: str) -> None:
        self._late_s = self._clock()
        self._health.report(HealthCause.LATE, "degraded", reason)
