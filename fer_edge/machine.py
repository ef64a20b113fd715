"""The processor's name, for the record beside a latency."""

from __future__ import annotations

import platform
from pathlib import Path


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
