"""Stream time: finite seconds that never run back."""

from __future__ import annotations

import math
import statistics
from collections import deque
from dataclasses import dataclass
from numbers import Real

import numpy as np

from fer_edge.monitor.causes import HealthCause
from fer_edge.monitor.state import Status
from fer_edge.shown import shown

_LEAP_S = 5.0
"""Longest step in seconds, beside the time that passed here, that one frame may prove."""
_GAP_S = 60.0
"""Longest gap in seconds that several frames prove in a recording. Longer ones are cut out."""
_AGREE = 3
"""Frames that must agree before the source's clock is followed to another place."""
_JITTER_S = 0.1
"""Seconds that a time may run back without a finding: decoders reorder frames."""
_STILL_FRAMES = 10
"""Frames with the same or an unusable time until the clock is given up."""
_MOST_S = 1e11
"""Largest time in seconds (year 5138). Milliseconds since 1970 are above it."""
_STEPS = 9
"""Steps whose median is the usual time from frame to frame."""
_GIVE = "Give finite seconds that go on, not milliseconds"


@dataclass(frozen=True)
class ClockFault:
    """Fault of the source's clock at one frame."""

    cause: HealthCause
    severity: Status
    reason: str


class StreamClock:
    """Stream time in seconds.

    It starts at the source's own time, or at 0 without one.

    A single wrong time is replaced by an estimate, and the other frames keep their own. A clock
    that goes on elsewhere is followed from there, without a jump in the stream time.

    Args:
        live: True if frames arrive when they are taken. Estimates then follow the arrivals. In a
            recording they follow the usual step from frame to frame.
    """

    def __init__(self, *, live: bool = False) -> None:
        self.time_s = 0.0
        """Stream time now, in seconds."""
        self.fault: ClockFault | None = None
        """Fault of the source's clock at the last frame, or None."""
        self._live = live
        self._first_s: float | None = None
        self._frame_s = 0.0
        self._arrived_s = 0.0
        self._own_s: float | None = None
        self._own_arrived_s = 0.0
        self._shift_s = 0.0
        self._steps: deque[float] = deque(maxlen=_STEPS)
        self._elsewhere: list[float] = []
        self._still = self._unusable = 0

    def at_frame(self, arrived_s: float, own_time_s: object, *, reopened: bool = False) -> float:
        """Advance to a frame and return its stream time.

        Args:
            arrived_s: Arrival of the frame on the monitor's clock, in seconds.
            own_time_s: The source's own time in seconds, or None to use the arrival.
            reopened: True if the source was opened again: its clock may start again.
        """
        if self._first_s is None:
            self._first_s = self._arrived_s = arrived_s
        passed_s = max(arrived_s - self._arrived_s, 0.0)
        self._arrived_s = arrived_s
        self.fault = None
        if own_time_s is None and self._own_s is None:
            time_s = arrived_s - self._first_s
        elif own_time_s is None:
            time_s = self._estimate(passed_s)
        else:
            time_s = self._follow(own_time_s, passed_s, reopened)
        self.time_s = self._frame_s = max(time_s, self.time_s)
        return self.time_s

    def after_frame(self, age_s: float) -> float:
        """Advance ``age_s`` seconds past the last frame; return the stream time."""
        self.time_s = max(self._frame_s + age_s, self.time_s)
        return self.time_s

    def _follow(self, own: object, passed_s: float, reopened: bool) -> float:
        """Return the stream time of a frame with a time of its own."""
        own_s = _seconds(own)
        if own_s is None:
            self._unusable += 1
            return self._report(
                HealthCause.CLOCK_INVALID,
                f"the source gave {shown(own)} as a time. {_GIVE}",
                passed_s,
                given_up=self._unusable > _STILL_FRAMES,
            )
        if self._own_s is None or (reopened and not 0 <= self._ahead_s(own_s) <= _LEAP_S):
            return self._anchor(own_s, max(self.time_s, own_s if self._own_s is None else 0.0))
        step_s = own_s - self._own_s
        here_s = self._arrived_s - self._own_arrived_s
        if -_JITTER_S <= step_s <= _LEAP_S + here_s:
            return self._accept(own_s, step_s, passed_s)
        return self._leap(own_s, step_s, here_s, passed_s)

    def _ahead_s(self, own_s: float) -> float:
        return own_s + self._shift_s - self.time_s

    def _accept(self, own_s: float, step_s: float, passed_s: float) -> float:
        """Return the stream time of a frame that fits."""
        self._elsewhere.clear()
        if step_s <= 0.0:
            self._still += 1
            if self._still >= _STILL_FRAMES:
                reason = f"the source's time stands still at {own_s:g} s"
                return self._report(HealthCause.CLOCK_STILL, reason, passed_s, given_up=True)
        elif self._still >= _STILL_FRAMES:  # the estimates have gone on since
            return self._anchor(own_s, self.time_s + min(step_s, self._step_s()))
        if 0.0 < step_s <= 1.0 and self._unusable == 0:
            self._steps.append(step_s)
        if step_s > 0.0:
            self._still = 0
            self._own_s, self._own_arrived_s = own_s, self._arrived_s
        self._unusable = 0
        return own_s + self._shift_s

    def _leap(self, own_s: float, step_s: float, here_s: float, passed_s: float) -> float:
        """Return the estimated stream time of an outlier, until three agree."""
        self._unusable += 1
        if self._elsewhere and not 0 < own_s - self._elsewhere[-1] <= _LEAP_S + passed_s:
            self._elsewhere.clear()
        self._elsewhere.append(own_s)
        cause = HealthCause.CLOCK_LEAP if step_s > 0 else HealthCause.CLOCK_BACK
        way = "leaps ahead" if step_s > 0 else "runs back"
        reason = f"the source's time {way} from {self._own_s:g} s to {own_s:g} s"
        if len(self._elsewhere) < _AGREE:
            given_up = self._unusable > _STILL_FRAMES
            reason = f"{reason}. {_GIVE}" if given_up else reason
            return self._report(cause, reason, passed_s, given_up=given_up)
        gap_s = _LEAP_S + here_s if self._live else _GAP_S
        if 0 < step_s <= gap_s:  # nothing was recorded meanwhile
            return self._anchor(own_s, own_s + self._shift_s)
        # A recording that goes back may be two that were joined; one that leaps lost its clock.
        severity: Status = "lost" if step_s > 0 and not self._live else "degraded"
        time_s = self.time_s + self._elapsed(passed_s)
        reason = f"{reason}. Stream time goes on from {time_s:.2f} s"
        self.fault = ClockFault(cause, severity, reason)
        return self._anchor(own_s, time_s)

    def _anchor(self, own_s: float, time_s: float) -> float:
        """Let the source's time ``own_s`` be the stream time ``time_s``, from now on."""
        self._own_s, self._own_arrived_s = own_s, self._arrived_s
        self._shift_s = time_s - own_s
        self._elsewhere.clear()
        self._still = self._unusable = 0
        return time_s

    def _report(self, cause: HealthCause, reason: str, passed_s: float, *, given_up: bool) -> float:
        """Set the fault and return an estimate of the stream time.

        A recording whose clock is given up has no time: nobody knows how long anything lasted.
        """
        lost = given_up and not self._live
        self.fault = ClockFault(cause, "lost" if lost else "degraded", reason)
        return self._estimate(passed_s)

    def _estimate(self, passed_s: float) -> float:
        return self.time_s + self._elapsed(passed_s)

    def _elapsed(self, passed_s: float) -> float:
        return passed_s if self._live else self._step_s()

    def _step_s(self) -> float:
        return statistics.median(self._steps) if self._steps else 0.0


def _seconds(value: object) -> float | None:
    """Return a finite number of seconds, or None for anything else."""
    if isinstance(value, bool | np.bool_) or not isinstance(value, Real):
        return None
    try:
        seconds = float(value)
    except (OverflowError, ValueError):
        return None
    return seconds if math.isfinite(seconds) and abs(seconds) < _MOST_S else None
