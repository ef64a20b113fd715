"""Signals of the application over time: gaze, eye openness, speed."""

from __future__ import annotations

import bisect
import math
from dataclasses import replace
from typing import Any

from fer_edge.errors import InputError
from fer_edge.fleet.manifest import table
from fer_edge.fleet.rules import HOLD_S, Sample
from fer_edge.monitor.state import MonitorState
from fer_edge.shown import shown

COLUMNS = ("time_s", "away", "distracted", "eyes_open", "speed_kmh", "degraded")
"""Columns of a signals file; ``time_s`` is required."""
_RANGES = {"time_s": (-1e9, 1e11), "eyes_open": (0.0, 1.0), "speed_kmh": (0.0, 1000.0)}
_TRUE, _FALSE = ("true", "1", "1.0", "yes"), ("false", "0", "0.0", "no")


class Signals:
    """Samples by time.

    Args:
        samples: Samples in the order of their times.
    """

    def __init__(self, samples: list[Sample]) -> None:
        self._samples = samples
        self._times = [sample.time_s for sample in samples]

    def at(self, time_s: float) -> Sample:
        """Return the newest sample at a time. It has no values if it is older than 0.5 s."""
        place = bisect.bisect_right(self._times, time_s) - 1
        if place < 0 or time_s - self._times[place] > HOLD_S:
            return Sample(time_s)
        return replace(self._samples[place], time_s=time_s)


def read_signals(name: str) -> Signals:
    """Read a CSV or Parquet file with a row for each sample.

    Args:
        name: Path or address. Columns: ``time_s`` (on the clock of the clip), ``away``,
            ``distracted``, ``degraded`` (true or false), ``eyes_open`` (0..1), ``speed_kmh``. Empty
            cells are unknown.

    Raises:
        InputError: The file cannot be read, a value is out of range, or times run back.
    """
    samples: list[Sample] = []
    for number, row in table(name, COLUMNS, "time_s"):
        values = {column: _value(column, row.get(column), number) for column in COLUMNS}
        if values["time_s"] is None:
            raise InputError(f"row {number} of the signals has no time_s. Correct the file")
        if samples and values["time_s"] < samples[-1].time_s:
            raise InputError(f"row {number} of the signals: time_s runs back. Sort the file")
        values["degraded"] = bool(values["degraded"])
        samples.append(Sample(**values))
    return Signals(samples)


def sample_of(state: MonitorState, signals: Signals | None, speed_kmh: float | None) -> Sample:
    """Return what is known about the driver's attention at one state.

    Without signals, a head that is turned away counts as looking away. The monitor reports it up to
    ``hold_s`` seconds after it began, and only beyond the angle of ``turned_above``.

    Args:
        state: State of the monitor.
        signals: Signals of the application, or None.
        speed_kmh: Speed of the clip, where the signals have none.
    """
    if signals is not None:
        sample = signals.at(state.time_s)
        speed = speed_kmh if sample.speed_kmh is None else sample.speed_kmh
        return replace(sample, speed_kmh=speed)
    driver = state.driver
    known = driver is not None and (driver.label is not None or driver.cause == "turned away")
    away = driver is not None and driver.cause == "turned away"
    return Sample(state.time_s, away=away if known else None, speed_kmh=speed_kmh)


def _value(column: str, value: Any, number: int) -> Any:
    if value is None or value == "" or (isinstance(value, float) and math.isnan(value)):
        return None
    if column in _RANGES:
        low, high = _RANGES[column]
        try:
            parsed = float(value)
        except (TypeError, ValueError, OverflowError):
            parsed = math.nan
        if not low <= parsed <= high:
            raise InputError(
                f"row {number} of the signals: expected {column} from {low:g} to {high:g}, got "
                f"{shown(value)}"
            )
        return parsed
    text = str(value).strip().lower()
    if text not in (*_TRUE, *_FALSE):
        raise InputError(
            f"row {number} of the signals: expected {column} as true or false, got {shown(value)}"
        )
    return text in _TRUE
