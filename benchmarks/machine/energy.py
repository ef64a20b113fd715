"""Energy of processor packages (RAPL, through Linux's powercap) and NVIDIA GPUs (NVML)."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, TypedDict

from fer_edge.benchmarks.fields import Count
from fer_edge.benchmarks.machine import nvml

POWERCAP = Path("/sys/class/powercap")
METHOD = (
    "Energy is what the processor packages (RAPL) and NVIDIA GPUs (NVML) used while the row was "
    "measured, including everything else that ran on them. Counters that the system does not let "
    "this user read are left out."
)

INTERVAL_S = 30.0
"""Seconds between readings: 65 kJ, the smallest range, lasts that long below 2 kW."""
_NVML_MAX = 2**64 - 1
"""Microjoules at which NVML's counter restarts: never, it counts in 64 bits."""

Counters = dict[str, tuple[int, int]]
"""Microjoules by package or GPU, and the value at which each counter restarts."""


class Energy(TypedDict):
    """Energy of a row."""

    faces: Annotated[Count, "Faces answered while energy was counted."]
    energy_j: Annotated[
        float | None, "Joules of processor packages and NVIDIA GPUs; null if none are counted."
    ]


def counters(root: Path = POWERCAP) -> Counters:
    """Read the counters of packages and GPUs; empty if this user may read none."""
    readings = packages(root)
    for i, gpu in enumerate(nvml.gpus()):
        if gpu["energy_mj"] is not None:
            readings[f"nvidia:{i}"] = 1000 * gpu["energy_mj"], _NVML_MAX
    return readings


def packages(root: Path = POWERCAP) -> Counters:
    """Read the counters of the processor packages.

    ``intel-rapl:0`` is a package (AMD's too); ``intel-rapl:0:1`` is a part of one.
    """
    readings: Counters = {}
    for zone in root.glob("intel-rapl:*"):
        try:
            if zone.name.count(":") == 1 and (zone / "name").read_text().startswith("package"):
                values = [int((zone / f).read_text()) for f in ("energy_uj", "max_energy_range_uj")]
                readings[zone.name] = values[0], values[1]
        except (OSError, ValueError):
            continue
    return readings


class Meter:
    """Energy that was used since the start of a ``with`` block.

    A package's counter restarts after 65 to 262 kJ, which is minutes at full load. A thread reads
    it often enough that no restart is missed.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._last: Counters = {}
        self._spent: dict[str, int] = {}

    def __enter__(self) -> Meter:
        """Read the counters, and go on to read those that restart."""
        self._last = counters()
        self._spent = dict.fromkeys(self._last, 0)
        if any(limit < _NVML_MAX for _, limit in self._last.values()):
            threading.Thread(target=self._watch, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        """Read no more."""
        self._ended.set()

    def joules(self) -> float | None:
        """Return the energy so far; None without a counter that both ends have."""
        reading = self._add(counters)
        both = [count for zone, count in self._spent.items() if zone in reading]
        return sum(both) / 1e6 if both else None

    def _watch(self) -> None:
        while not self._ended.wait(INTERVAL_S):
            self._add(packages)

    def _add(self, read: Callable[[], Counters]) -> Counters:
        """Read, add what was used since the last reading, and return the reading."""
        with self._lock:  # an older reading must not be added after a newer one
            reading = read()
            for zone, (last, limit) in self._last.items():
                if zone in reading:
                    self._spent[zone] += (reading[zone][0] - last) % (limit + 1)
            self._last |= {zone: value for zone, value in reading.items() if zone in self._last}
        return reading
