"""Energy of the processor packages and NVIDIA GPUs, where the system counts it: RAPL, through
Linux's powercap, and NVML."""

from __future__ import annotations

from pathlib import Path

from fer_edge.benchmarks.machine import nvml

POWERCAP = Path("/sys/class/powercap")
METHOD = (
    "Energy is what the processor packages (RAPL) and NVIDIA GPUs (NVML) took while the row was "
    "measured, everything else that ran on them included; what the system does not let be read is "
    "not in it."
)

_NEVER = 2**64 - 1
"""NVML counts millijoules in 64 bits."""

Counters = dict[str, tuple[int, int]]
"""By package or GPU: microjoules counted, and the number at which the counter starts again."""


def counters(root: Path = POWERCAP) -> Counters:
    """The counters now; empty where there are none, or reading takes another user.

    ``intel-rapl:0`` is a package (AMD's too); ``intel-rapl:0:1`` is a part of one.
    """
    found = {}
    for zone in root.glob("intel-rapl:*"):
        try:
            if zone.name.count(":") == 1 and (zone / "name").read_text().startswith("package"):
                values = [int((zone / f).read_text()) for f in ("energy_uj", "max_energy_range_uj")]
                found[zone.name] = values[0], values[1]
        except (OSError, ValueError):
            continue
    for i, gpu in enumerate(nvml.gpus()):
        if gpu.energy_mj is not None:
            found[f"nvidia:{i}"] = 1000 * gpu.energy_mj, _NEVER
    return found


def joules(before: Counters, after: Counters) -> float | None:
    """Spent between two readings by those that are in both; None without any. A counter that is
    lower than before has started again, once."""
    spent = [
        (after[zone][0] - count) % (limit + 1)
        for zone, (count, limit) in before.items()
        if zone in after
    ]
    return sum(spent) / 1e6 if spent else None
