"""Energy of processor packages (RAPL, through Linux's powercap) and NVIDIA GPUs (NVML)."""

from __future__ import annotations

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
    """Read the counters; empty if this user may read none.

    ``intel-rapl:0`` is a package (AMD's too); ``intel-rapl:0:1`` is a part of one.
    """
    readings = {}
    for zone in root.glob("intel-rapl:*"):
        try:
            if zone.name.count(":") == 1 and (zone / "name").read_text().startswith("package"):
                values = [int((zone / f).read_text()) for f in ("energy_uj", "max_energy_range_uj")]
                readings[zone.name] = values[0], values[1]
        except (OSError, ValueError):
            continue
    for i, gpu in enumerate(nvml.gpus()):
        if gpu["energy_mj"] is not None:
            readings[f"nvidia:{i}"] = 1000 * gpu["energy_mj"], _NVML_MAX
    return readings


def joules(before: Counters, after: Counters) -> float | None:
    """Return the energy between two readings in joules.

    Only counters in both readings count. None without any.

    A counter that is lower than before has restarted once.
    """
    spent = [
        (after[zone][0] - count) % (limit + 1)
        for zone, (count, limit) in before.items()
        if zone in after
    ]
    return sum(spent) / 1e6 if spent else None
