"""How sure a ratio of percentiles is: a bootstrap that knows that latencies come in clumps."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

BLOCK = 24
"""Neighbours that are drawn together: as long as a measured block (timing.interleaved)."""
_MIN_ROUNDS, _MAX_ROUNDS = 1000, 4000
_CELLS = 2_000_000
"""Samples drawn at a time, so that memory stays at some 16 MB."""

Latencies = npt.NDArray[np.int64]


def percentile_ratio(
    new: Latencies, old: Latencies, q: float, *, confidence: float = 0.95, seed: int = 0
) -> tuple[float, float, float]:
    """The q-th percentile of new over that of old, with its interval: (ratio, low, high).

    Moving-block bootstrap (Künsch 1989), both drawn independently: a stall slows several calls in
    a row, and drawing single calls would take them for independent evidence.
    """
    ratio = float(np.percentile(new, q) / np.percentile(old, q))
    rng = np.random.default_rng(seed)
    # Ten draws beyond each end of the interval, where that is affordable.
    rounds = min(max(round(20 / (1 - confidence)), _MIN_ROUNDS), _MAX_ROUNDS)
    drawn = _drawn(new, q, rounds, rng) / _drawn(old, q, rounds, rng)
    tail = 50 * (1 - confidence)
    low, high = np.percentile(drawn, [tail, 100 - tail])
    return ratio, float(low), float(high)


def _drawn(
    ns: Latencies, q: float, rounds: int, rng: np.random.Generator
) -> npt.NDArray[np.float64]:
    """The percentile of each of the bootstrap's rounds."""
    block = min(BLOCK, max(len(ns) // 8, 1))
    blocks = -(-len(ns) // block)
    # Circular: the first and the last samples are drawn as often as the others.
    circle = np.concatenate([ns, ns[: block - 1]])
    offsets = np.arange(block)
    found = []
    each = max(_CELLS // (blocks * block), 1)
    for first in range(0, rounds, each):
        starts = rng.integers(0, len(ns), (min(each, rounds - first), blocks, 1))
        picks = (starts + offsets).reshape(len(starts), -1)[:, : len(ns)]
        found.append(np.percentile(circle[picks], q, axis=1))
    return np.concatenate(found)
