"""What a call takes on a GPU, by its own clock: the way there, the network, the way back."""

from __future__ import annotations

import contextlib
from dataclasses import asdict

import numpy as np

from fer_edge import open_bundle
from fer_edge.backends.base import Options, backend
from fer_edge.backends.tensorrt import TensorRtSession
from fer_edge.benchmarks.job import Job

_CALLS = 50


def device_ms(job: Job, name: str, batch: int) -> dict[str, float] | None:
    """Medians in ms; None for a variant whose backend has no clock of a device."""
    content = open_bundle(job.bundle)
    variant = next(v for v in content.variants if v.name == name)
    if variant.target != "tensorrt":
        return None
    session = backend(variant.target).load(variant, content.read(variant), Options())
    assert isinstance(session, TensorRtSession)
    with contextlib.closing(session):
        taken = [asdict(session.device_ms(job.ready(batch))) for _ in range(_CALLS)]
    return {part: float(np.median([one[part] for one in taken])) for part in taken[0]}
