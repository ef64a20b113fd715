"""Times of a call by the GPU's clock: copies and network."""

from __future__ import annotations

import contextlib
from typing import Any, TypedDict

import numpy as np

from fer_edge import open_bundle
from fer_edge.backends.base import Options, backend
from fer_edge.benchmarks.fields import MedianMs
from fer_edge.benchmarks.job import Job

_CALLS = 50


class DeviceMs(TypedDict):
    """Times of a call on a GPU."""

    to_device_ms: MedianMs
    network_ms: MedianMs
    from_device_ms: MedianMs


def device_ms(job: Job, name: str, batch: int) -> DeviceMs | None:
    """Return medians in ms; None if the backend has no clock."""
    content = open_bundle(job.bundle)
    variant = next(v for v in content.variants if v.name == name)
    engine = backend(variant.target)
    if not engine.FACTS.device_clock:
        return None
    session: Any = engine.load(variant, content.read(variant), Options())
    with contextlib.closing(session):
        times = [session.device_ms(job.ready(batch)) for _ in range(_CALLS)]
    return {
        "to_device_ms": float(np.median([one.to_device_ms for one in times])),
        "network_ms": float(np.median([one.network_ms for one in times])),
        "from_device_ms": float(np.median([one.from_device_ms for one in times])),
    }
