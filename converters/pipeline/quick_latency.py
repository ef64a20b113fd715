"""A quick look at which variant is faster here; fer-edge bench is the real measurement."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from fer_edge.backends.base import Session

_BLOCKS, _BLOCK, _SETTLE = 15, 20, 3


def single_face_p50_ms(
    sessions: Mapping[str, Session], face: npt.NDArray[np.uint8]
) -> dict[str, float]:
    """Median latency at batch 1 of each session, taking turns so that drift hits all alike.

    In blocks: some engines keep threads spinning after a call, and would slow the next one.

    face: uint8 ``[1, S, S, 3]``.
    """
    for session in sessions.values():
        for _ in range(20):
            session.run(face)
    times: dict[str, list[int]] = {name: [] for name in sessions}
    for _ in range(_BLOCKS):
        for name, session in sessions.items():
            for call in range(_SETTLE + _BLOCK):
                start = time.perf_counter_ns()
                session.run(face)
                if call >= _SETTLE:
                    times[name].append(time.perf_counter_ns() - start)
    return {name: statistics.median(values) / 1e6 for name, values in times.items()}


def beaten(p50_ms: Mapping[str, float], agreement: Mapping[str, float]) -> dict[str, str]:
    """For each variant that a faster and at least as faithful one beats: that one's name.

    agreement: share of faces decided as the checkpoint decides them. Accuracy is no measure here:
    a rounded network that gains a tenth of a point has had luck, not insight.
    """

    def beaten_by(name: str, others: Sequence[str]) -> str | None:
        better = [
            other
            for other in others
            if other != name
            and agreement[other] >= agreement[name]
            and p50_ms[other] < p50_ms[name]
        ]
        return min(better, key=lambda other: p50_ms[other], default=None)

    names = list(p50_ms)
    return {name: other for name in names if (other := beaten_by(name, names)) is not None}
