"""Facts about this machine, recorded beside each figure."""

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
    """Return a /proc/cpuinfo field of the first core, or None.

    Args:
        key: Name of the field, such as ``model name`` or ``flags``.
    """
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
    """Return the processor's name as the system states it."""
    return cpu_field("model name") or platform.processor() or platform.machine()


def libraries(names: Sequence[str]) -> dict[str, str]:
    """Return the versions of the installed ones among some distributions.

    Args:
        names: Distributions; those that are not installed are left out.
    """
    versions = {}
    for name in names:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions


def software() -> dict[str, Any]:
    """Return what is needed to reproduce a figure.

    Returns:
        Plain values: ``time`` (UTC, ISO 8601), ``cpu``, ``cores``, ``system``, ``python`` and
        ``libraries`` (versions by distribution).
    """
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpu": cpu_name(),
        "cores": os.cpu_count(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "libraries": libraries((*_LIBRARIES, *engine_libraries(), *_TRAINING_LIBRARIES)),
    }
