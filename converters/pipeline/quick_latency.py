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
_LONGEST_S = 2.0
"""Seconds after which a warm-up or a block ends, with at least one call."""
_BUDGET_S = 60.0
"""Seconds after which no further round of blocks begins. Only slow networks need as many."""


def single_face_p50_ms(
    sessions: Mapping[str, Session], face: npt.NDArray[np.uint8]
) -> dict[str, float]:
    """Measure the median latency of each session at batch 1.

    Sessions take turns, so that drift affects all alike. They do so in blocks: some engines keep
    threads spinning after a call, which slows the next engine. Slow networks have fewer calls, so
    that the measurement ends after about a minute.

    Args:
        sessions: Sessions by name.
        face: uint8 ``[1, S, S, 3]`` BGR.

    Returns:
        Median latency in milliseconds by name.

    Raises:
        EngineError: An engine fails.
    """
    for session in sessions.values():
        _call_times_ns(session, face, _WARM_UP)
    times: dict[str, list[int]] = {name: [] for name in sessions}
    end_s = time.perf_counter() + _BUDGET_S
    for _ in range(_BLOCKS):
        for name, session in sessions.items():
            _call_times_ns(session, face, _SETTLE)
            times[name] += _call_times_ns(session, face, _BLOCK)
        if time.perf_counter() > end_s:
            break
    return {name: statistics.median(values) / 1e6 for name, values in times.items()}


def _call_times_ns(session: Session, face: npt.NDArray[np.uint8], most: int) -> list[int]:
    """Return the times of up to ``most`` calls, within _LONGEST_S and one call."""
    times: list[int] = []
    end_s = time.perf_counter() + _LONGEST_S
    while len(times) < most and (not times or time.perf_counter() < end_s):
        start = time.perf_counter_ns()
        session.run(face)
        times.append(time.perf_counter_ns() - start)
    return times


def beaten(p50_ms: Mapping[str, float], agreement: Mapping[str, float]) -> dict[str, str]:
    """Find the variants behind the Pareto front of latency and agreement.

    Accuracy is not a criterion: a rounded network that gains a tenth of a point does so by chance.

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
