"""What a figure was computed on, for the record beside it."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from fer_edge.backends.base import engine_libraries

_LIBRARIES = ("fer-edge", "numpy", "opencv-python-headless")
_TRAINING_LIBRARIES = ("torch", "timm", "torchvision", "torchmetrics")


def cpu_field(key: str) -> str | None:
    """A field of /proc/cpuinfo for the first core (``model name``, ``flags``); None off Linux."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return None
    for line in lines:
        name, _, value = line.partition(":")
        if name.strip() == key:
            return value.strip()
    return None


def cpu_name() -> str:
    return cpu_field("model name") or platform.processor() or platform.machine()


def usable_cores() -> int:
    """Those that this process may run on, where the system tells; else all there are."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def libraries(names: Sequence[str]) -> dict[str, str]:
    """The installed version of each of them that is installed."""
    found = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def software() -> dict[str, Any]:
    """Processor, system, Python, libraries and time: enough to compute a figure again."""
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpu": cpu_name(),
        "cores": os.cpu_count(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "libraries": libraries((*_LIBRARIES, *engine_libraries(), *_TRAINING_LIBRARIES)),
    }
