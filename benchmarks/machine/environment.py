"""Environment of a measurement: processor, clocks, memory, libraries, and what disturbed it."""

from __future__ import annotations

import os
import platform
import shlex
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, NotRequired, TypedDict

from fer_edge.backends.base import engine_libraries
from fer_edge.benchmarks.fields import ClockMhz, Count, TemperatureC
from fer_edge.benchmarks.machine.nvml import GpuReading, gpus
from fer_edge.cores import times_throttled, usable_cores
from fer_edge.machine import cpu_field, cpu_name, libraries

_LIBRARIES = ("fer-edge", "numpy", "opencv-python-headless", *engine_libraries(), "torch")
_ISA = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8", "asimddp", "i8mm")

_NOISY_STEAL = 0.01
"""Share (0..1) of the CPU time above which stolen time makes a machine noisy."""
_NOISY_OTHERS = 0.10
"""Share (0..1) of all cores used by other processes: on two cores, a fifth of one."""
_BUSY_LOAD = 0.25
"""Load average for each core, above which a machine was busy before."""
_NOISY_SPREAD = 1.5
"""Ratio of p90 to p50; fixed work on a quiet core stays under 1.1."""


class Environment(TypedDict):
    """Environment of a measurement; None for what the system does not report."""

    time: Annotated[str, "UTC, ISO 8601."]
    cpu: Annotated[str, "Model."]
    isa: Annotated[list[str], "Vector instructions that the processor has."]
    cores: Annotated[int | None, "Cores of the machine."]
    affinity: Annotated[
        int | None, "Cores that this process may use: its affinity and its CPU quota."
    ]
    nvidia_driver: NotRequired[Annotated[str | None, "NVIDIA driver, as it describes itself."]]
    gpus: NotRequired[Annotated[list[GpuReading], "NVIDIA GPUs, in NVML's order."]]
    governor: Annotated[str | None, "Frequency governor of the first core."]
    clock_mhz: ClockMhz
    temperature_c: TemperatureC
    memory_bytes: Annotated[Count, "Memory of the machine."]
    memory_free_bytes: Annotated[Count, "Available memory at the start."]
    load_1min: Annotated[float, "Load average at the start."]
    system: Annotated[str, "Operating system."]
    python: Annotated[str, "Version of Python."]
    libraries: Annotated[dict[str, str], "Versions of installed libraries, by name."]
    command: Annotated[str, "Command line, quoted for a shell."]


class Noise(TypedDict):
    """Disturbance of a measurement."""

    steal_share: Annotated[float, "Share (0..1) of the CPU time taken by the hypervisor."]
    others_share: Annotated[float, "Share (0..1) of the CPU time used by other processes."]
    spread: Annotated[float | None, "Largest ratio of p90 to p50 of a row."]
    reasons: Annotated[list[str], "Reasons to call the machine noisy; empty on a quiet one."]


def environment() -> Environment:
    """Return the environment of this process now.

    Values that the system does not report are None: virtual machines seldom report a clock or a
    temperature.
    """
    import psutil

    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpu": cpu_name(),
        "isa": [flag for flag in _ISA if flag in _flags()],
        "cores": os.cpu_count(),
        "affinity": usable_cores(),
        "nvidia_driver": _read("/proc/driver/nvidia/version"),
        "gpus": gpus(),
        "governor": _read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "clock_mhz": clock_mhz(),
        "temperature_c": temperature_c(),
        "memory_bytes": psutil.virtual_memory().total,
        "memory_free_bytes": psutil.virtual_memory().available,
        "load_1min": round(psutil.getloadavg()[0], 2),
        "system": platform.platform(),
        "python": platform.python_version(),
        "libraries": libraries(_LIBRARIES),
        "command": shlex.join(["fer-edge", *sys.argv[1:]]),
    }


def machine(env: Mapping[str, Any]) -> str:
    """Return the processor, its cores, and the number this process may use."""
    usable = env["affinity"] or env["cores"]
    cores = (
        f"{env['cores']} cores" if usable == env["cores"] else f"{usable} of {env['cores']} cores"
    )
    return f"{env['cpu']}, {cores}"


def gpu_names(env: Mapping[str, Any]) -> list[str]:
    """Return the names of the GPUs of an environment; empty if none is known."""
    return [str(gpu["name"]) for gpu in env.get("gpus") or []]


def clock_mhz() -> float | None:
    """Return the mean clock of all cores in MHz; None if unknown."""
    import psutil

    try:
        frequency = psutil.cpu_freq()
    except (OSError, NotImplementedError, RuntimeError):
        return None
    return round(frequency.current, 1) if frequency and frequency.current else None


def temperature_c() -> float | None:
    """Return the hottest sensor in degrees Celsius, or None without sensors."""
    import psutil

    if not hasattr(psutil, "sensors_temperatures"):
        return None
    values = [s.current for sensors in psutil.sensors_temperatures().values() for s in sensors]
    return max(values, default=None)


def cpu_counters() -> dict[str, float]:
    """Return the CPU seconds of the machine since its start, and how often a quota took effect.

    Returns:
        Seconds: ``all``, ``steal`` (taken by the hypervisor), ``idle``, and ``own`` (of this
        process, and of its children, whether they have ended or not). ``throttled`` counts how
        often a CPU quota stopped the process.
    """
    import psutil

    times = psutil.cpu_times()
    return {
        "all": sum(times) - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0),
        "steal": getattr(times, "steal", 0.0),
        "idle": times.idle + getattr(times, "iowait", 0.0),
        "own": _own_seconds(),
        "throttled": times_throttled(),
    }


def _own_seconds() -> float:
    import psutil

    own = psutil.Process()
    seconds = 0.0
    for process in (own, *own.children(recursive=True)):
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):  # it may have ended meanwhile
            times = process.cpu_times()
            # The times of ended children go to the parent that waited for them.
            seconds += times.user + times.system + times.children_user + times.children_system
    return seconds


def noise(
    before: Mapping[str, float], after: Mapping[str, float], rows: Iterable[Mapping[str, Any]]
) -> Noise:
    """Return what disturbed a measurement.

    Args:
        before: ``cpu_counters()`` at the start.
        after: ``cpu_counters()`` at the end.
        rows: Rows of the report; the spread is computed from those with a p50 and a p90.
    """
    spent = {key: after[key] - before[key] for key in before}
    total = max(spent["all"], 1e-9)
    steal = min(max(spent["steal"] / total, 0.0), 1.0)
    others = (spent["all"] - spent["idle"] - spent["steal"] - spent["own"]) / total
    others = min(max(others, 0.0), 1.0)
    ratios = [
        row["p90_ms"] / row["p50_ms"]
        for row in rows
        # Rows of the contended scenario vary because of its own load.
        if row.get("p90_ms") and row.get("p50_ms") and row.get("state") != "contended"
    ]
    spread = max(ratios, default=None)
    reasons = []
    if steal > _NOISY_STEAL:
        reasons.append(f"the hypervisor took {steal:.1%} of the CPU time")
    if others > _NOISY_OTHERS:
        reasons.append(f"other processes used {others:.0%} of the CPU time")
    if spent["throttled"] > 0:
        times = "once" if spent["throttled"] == 1 else f"{spent['throttled']:.0f} times"
        reasons.append(f"a CPU quota stopped the process {times}")
    if spread is not None and spread > _NOISY_SPREAD:
        reasons.append(f"a p90 is {spread:.1f} times its p50")
    return {
        "steal_share": steal,
        "others_share": others,
        "spread": spread,
        "reasons": reasons,
    }


def noise_note(env: Mapping[str, Any], disturbance: Noise | None = None) -> str | None:
    """Return a sentence if other work disturbed a measurement."""
    reasons = list(disturbance["reasons"]) if disturbance else []
    if env["load_1min"] > _BUSY_LOAD * (env["cores"] or 1):
        reasons.insert(
            0,
            f"it was busy before the measurement (load {env['load_1min']} on {env['cores']} cores)",
        )
    if not reasons:
        return None
    return f"Noisy machine: {'; '.join(reasons)}. On a quiet machine the figures are better."


def _flags() -> list[str]:
    """Return the processor's flags; x86 calls them ``flags``, Arm ``Features``."""
    return (cpu_field("flags") or cpu_field("Features") or "").split()


def _read(path: str) -> str | None:
    try:
        return Path(path).read_text("utf-8").strip()
    except OSError:
        return None
