"""The deadline of a live frame: how old it is, what each stage takes, and what is left out."""

from __future__ import annotations

import math
from collections.abc import Callable

from fer_edge.monitor.health import HealthMonitor

_TELL_S = 1.0
"""For so long after a late answer health says so."""
_NEWEST = 0.2
"""Weight of the newest duration in what a stage usually takes."""


class DeadlineScheduler:
    """deadline_s: how old an answer may be; None is a file, which has no deadline."""

    def __init__(
        self, clock: Callable[[], float], health: HealthMonitor, deadline_s: float | None
    ) -> None:
        self.times_ms: dict[str, float] = {}
        """What the stages of this frame took."""
        self._clock = clock
        self._health = health
        self._deadline_s = deadline_s
        self._usual_s: dict[str, float] = {}
        self._left_out: set[str] = set()
        self._arrived_s = clock()
        self._index = -1
        self._late_s = -math.inf

    @property
    def age_s(self) -> float:
        """Since the last frame arrived."""
        return max(self._clock() - self._arrived_s, 0.0)

    def begin(self, index: int, arrived_s: float) -> None:
        self._index, self._arrived_s = index, arrived_s
        self.times_ms = {}

    def should_skip(self, stage: str) -> bool:
        """Whether doing this stage now would make the answer late. Never twice in a row, or a slow
        machine would never answer."""
        if self._deadline_s is None:
            return False
        late = self.age_s + self._usual_s.get(stage, 0.0) > self._deadline_s
        if not late or stage in self._left_out:
            self._left_out.discard(stage)
            return False
        self._left_out.add(stage)
        self._tell(f"to keep up, frame {self._index} went without {stage}")
        return True

    def took(self, stage: str, start_s: float) -> None:
        took_s = self._clock() - start_s
        self.times_ms[stage] = 1e3 * took_s
        usual_s = self._usual_s.setdefault(stage, took_s)
        self._usual_s[stage] = usual_s + _NEWEST * (took_s - usual_s)

    def end(self) -> None:
        """The answer is there: late, or not any more."""
        if self._deadline_s is None:
            return
        if (age_s := self.age_s) > self._deadline_s:
            self._tell(
                f"the answer to frame {self._index} was {1e3 * age_s:.0f} ms old, expected "
                f"{1e3 * self._deadline_s:.0f} ms"
            )
        elif self._clock() - self._late_s > _TELL_S:
            self._health.clear("deadline")

    def _tell(self, reason: str) -> None:
        self._late_s = self._clock()
        self._health.report("deadline", "degraded", reason)
