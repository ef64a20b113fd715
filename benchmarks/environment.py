"""What a number was measured on: without it the number means nothing."""

from __future__ import annotations

import os
import platform
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from fer_edge.machine import cpu_field, cpu_name

_LIBRARIES = ("fer-edge", "numpy", "opencv-python-headless", "onnxruntime", "openvino", "torch")
_ISA = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8", "asimddp", "i8mm")


def environment() -> dict[str, Any]:
    """Processor, ISA, cores, memory, load, governor, system, libraries and time."""
    import psutil

    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpu": cpu_name(),
        "isa": [flag for flag in _ISA if flag in (cpu_field("flags") or "").split()],
        "cores": os.cpu_count(),
        "affinity": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
        "governor": _read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "memory_bytes": psutil.virtual_memory().total,
        "load_1min": round(psutil.getloadavg()[0], 2),
        "system": platform.platform(),
        "python": platform.python_version(),
        "libraries": {name: found for name in _LIBRARIES if (found := _version(name))},
        "command": " ".join(["fer-edge", *sys.argv[1:]]),
    }


def noise_note(env: dict[str, Any]) -> str | None:
    """A sentence for the report if other work was running when the measurement began."""
    if env["load_1min"] > 0.5:
        return (
            f"The machine was busy before this began (load {env['load_1min']} on "
            f"{env['cores']} cores): figures are worse than a quiet machine's."
        )
    return None


def _read(path: str) -> str | None:
    try:
        return Path(path).read_text("utf-8").strip()
    except OSError:
        return None


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
