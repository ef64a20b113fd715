"""Quick comparison of latencies during a conversion; fer-edge bench measures properly."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from fer_edge.backends.base import Session

_BLOCKS, _BLOCK, _SETTLE = 15, 20, 3
"""Blocks of each session, timed calls in a block, and untimed calls before them."""
_WARM_UP = 20
"""Untimed calls of each session before the first block."""


def single_face_p50_ms(
    sessions: Mapping[str, Session], face: npt.NDArray[np.uint8]
) -> dict[str, float]:
    """Measure the median latency of each session at batch 1.

    Sessions take turns, so that drift affects all alike. They do so in blocks: some engines keep
    threads spinning after a call, which slows the next engine.

    Args:
        sessions: Sessions by name.
        face: uint8 ``[1, S, S, 3]`` BGR.

    Returns:
        Median latency in milliseconds by name.

    Raises:
        EngineError: An engine fails.
    """
    for session in sessions.values():
        for _ in range(_WARM_UP):
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
    """Find the variants behind the Pareto front of latency and agreement.

    Accuracy is no criterion: a rounded network that gains a tenth of a point does so by chance.

    Args:
        p50_ms: Median latency in milliseconds by name.
        agreement: Share (0..1) of faces with the checkpoint's decision by name.

    Returns:
        For each variant that is beaten, the fastest one that is faster and agrees at least as
        often.
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
