"""What a number was measured on: without it the number means nothing."""

from __future__ import annotations

import os
import platform
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fer_edge.benchmarks.machine.nvml import gpus
from fer_edge.machine import cpu_field, cpu_name, libraries, usable_cores

_LIBRARIES = ("fer-edge", "numpy", "opencv-python-headless", "onnxruntime", "openvino", "torch")
_ISA = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8", "asimddp", "i8mm")

_NOISY_STEAL = 0.01
_NOISY_OTHERS = 0.10
"""Share of all cores: on two of them, a fifth of one."""
_NOISY_SPREAD = 1.5
"""p90 over p50; fixed work on a quiet core stays under 1.1."""


def environment() -> dict[str, Any]:
    """Processor, ISA, cores, clocks, memory, load, GPUs, their driver, system, libraries and time.

    What the system does not tell is None: a virtual machine seldom has a clock or a sensor.
    """
    import psutil

    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpu": cpu_name(),
        "isa": [flag for flag in _ISA if flag in _flags()],
        "cores": os.cpu_count(),
        "affinity": usable_cores(),
        "nvidia_driver": _read("/proc/driver/nvidia/version"),
        "gpus": [asdict(gpu) for gpu in gpus()],
        "governor": _read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "clock_mhz": clock_mhz(),
        "temperature_c": temperature_c(),
        "memory_bytes": psutil.virtual_memory().total,
        "memory_free_bytes": psutil.virtual_memory().available,
        "load_1min": round(psutil.getloadavg()[0], 2),
        "system": platform.platform(),
        "python": platform.python_version(),
        "libraries": libraries(_LIBRARIES),
        "command": " ".join(["fer-edge", *sys.argv[1:]]),
    }


def machine(env: dict[str, Any]) -> str:
    """The processor, its cores, and how many of them this process may use."""
    usable = env["affinity"] or env["cores"]
    cores = (
        f"{env['cores']} cores" if usable == env["cores"] else f"{usable} of {env['cores']} cores"
    )
    return f"{env['cpu']}, {cores}"


def clock_mhz() -> float | None:
    """Mean clock of all cores in MHz, where the system tells it."""
    import psutil

    try:
        found = psutil.cpu_freq()
    except (OSError, NotImplementedError, RuntimeError):
        return None
    return round(found.current, 1) if found and found.current else None


def temperature_c() -> float | None:
    """The hottest sensor in degrees Celsius, where there is one."""
    import psutil

    if not hasattr(psutil, "sensors_temperatures"):
        return None
    found = [s.current for sensors in psutil.sensors_temperatures().values() for s in sensors]
    return max(found, default=None)


def cpu_seconds() -> dict[str, float]:
    """CPU time of the whole machine since it started; steal is what the hypervisor took."""
    import psutil

    times = psutil.cpu_times()
    own = psutil.Process().cpu_times()
    return {
        "all": sum(times) - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0),
        "steal": getattr(times, "steal", 0.0),
        "idle": times.idle + getattr(times, "iowait", 0.0),
        "own": own.user + own.system + own.children_user + own.children_system,
    }


def noise(
    before: dict[str, float], after: dict[str, float], rows: list[dict[str, Any]]
) -> dict[str, Any]:
    """What disturbed a measurement, from two readings of ``cpu_seconds`` and its rows.

    steal_share: of all CPU time, taken by the hypervisor; others_share: used by other processes;
    spread: the widest p90 over p50 of a row, of those that have both. ``reasons`` is empty for a
    quiet machine.
    """
    spent = {key: after[key] - before[key] for key in before}
    total = max(spent["all"], 1e-9)
    steal = min(max(spent["steal"] / total, 0.0), 1.0)
    others = (spent["all"] - spent["idle"] - spent["steal"] - spent["own"]) / total
    others = min(max(others, 0.0), 1.0)
    ratios = [
        row["p90_ms"] / row["p50_ms"]
        for row in rows
        # Under a load of our own making a spread says nothing about the machine.
        if row.get("p90_ms") and row.get("p50_ms") and row.get("state") != "contended"
    ]
    spread = max(ratios, default=None)
    reasons = []
    if steal > _NOISY_STEAL:
        reasons.append(f"the hypervisor took {steal:.1%} of the CPU time")
    if others > _NOISY_OTHERS:
        reasons.append(f"other processes used {others:.0%} of the CPU time")
    if spread is not None and spread > _NOISY_SPREAD:
        reasons.append(f"a p90 is {spread:.1f} times its p50")
    return {
        "steal_share": steal,
        "others_share": others,
        "spread": spread,
        "reasons": reasons,
    }


def noise_note(env: dict[str, Any], found: dict[str, Any] | None = None) -> str | None:
    """A sentence for the report if other work was running before or during a measurement."""
    reasons = list(found["reasons"]) if found else []
    if env["load_1min"] > 0.5:
        reasons.insert(
            0, f"it was busy before this began (load {env['load_1min']} on {env['cores']} cores)"
        )
    if not reasons:
        return None
    return f"Noisy machine: {'; '.join(reasons)}. Figures are worse than a quiet machine's."


def _flags() -> list[str]:
    """x86 says ``flags``, Arm says ``Features``."""
    return (cpu_field("flags") or cpu_field("Features") or "").split()


def _read(path: str) -> str | None:
    try:
        return Path(path).read_text("utf-8").strip()
    except OSError:
        return None
