"""Stream time: seconds since the first frame."""

from __future__ import annotations


class StreamClock:
    """Stream time in seconds, 0 at the first frame. It never runs back."""

    def __init__(self) -> None:
        self.time_s = 0.0
        """Stream time now, in seconds."""
        self._first_s: float | None = None
        self._frame_s = 0.0
        self._shift_s = 0.0

    def at_frame(self, arrived_s: float, own_time_s: float | None) -> float:
        """Advance to a frame and return its stream time.

        Args:
            arrived_s: Arrival of the frame on the monitor's clock, in seconds.
            own_time_s: The source's own time in seconds, or None to use the arrival.
        """
        if self._first_s is None:
            self._first_s = arrived_s
        time_s = arrived_s - self._first_s if own_time_s is None else own_time_s + self._shift_s
        if time_s < self.time_s:  # a source that is opened again may count from 0
            self._shift_s += self.time_s - time_s
        self.time_s = self._frame_s = max(time_s, self.time_s)
        return self.time_s

    def after_frame(self, age_s: float) -> float:
        """Advance to ``age_s`` seconds after the last frame and return the stream time."""
        self.time_s = self._frame_s + age_s
        return self.time_s
