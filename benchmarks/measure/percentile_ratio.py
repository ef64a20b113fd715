"""Confidence intervals of ratios of latency percentiles: a moving-block bootstrap."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

BLOCK = 24
"""Neighbouring samples that are drawn together: one measured block of ``timing.interleaved``.

Fewer than eight blocks of samples are drawn in blocks of an eighth of them.
"""
LEAST_SAMPLES = 10 * BLOCK
"""Least samples of each side for a verdict: the interval of fewer is too narrow.

Without a difference, a 95 % interval of the median's ratio leaves out 1 in 5 to 13 % of simulated
pairs of 240 samples, in 8 to 20 % of 96, and in 16 to 45 % of 24 (``docs/decisions/0018``).
"""
_MIN_ROUNDS, _MAX_ROUNDS = 1000, 4000
_CELLS = 2_000_000
"""Samples drawn at a time: about 16 MB of memory."""

Latencies = npt.NDArray[np.int64]


def percentile_ratio(
    new: Latencies,
    old: Latencies,
    q: float,
    *,
    paired: bool = False,
    confidence: float = 0.95,
    seed: int = 0,
) -> tuple[float, float, float]:
    """Return the ratio of one percentile, as ``percentile_ratios`` does."""
    (found,) = percentile_ratios(new, old, (q,), paired=paired, confidence=confidence, seed=seed)
    return found


def percentile_ratios(
    new: Latencies,
    old: Latencies,
    qs: Sequence[float],
    *,
    paired: bool = False,
    confidence: float = 0.95,
    seed: int = 0,
) -> list[tuple[float, float, float]]:
    """Return the ratios of percentiles of the same draws, each with its confidence interval.

    Moving-block bootstrap (Künsch 1989): a stall slows several calls in a row, so single calls are
    no independent evidence. With fewer than LEAST_SAMPLES, the interval is too narrow.

    Args:
        new: Latencies of the numerator in ns, in the order they were taken.
        old: Latencies of the denominator in ns, in the order they were taken.
        qs: Percentiles, 0 to 100.
        paired: Draw the same blocks of both. For latencies that were taken in turns
            (``timing.interleaved``): drift that slows both alike then cancels. The longer one is
            cut to the length of the shorter one.
        confidence: Share (0..1) of intervals that contain the true ratio.
        seed: Seed of the draws.

    Returns:
        ``(ratio, low, high)`` of each percentile.
    """
    ratios = np.percentile(new, qs) / np.percentile(old, qs)
    rng = np.random.default_rng(seed)
    # Ten draws beyond each end of the interval, up to a bound on the time.
    rounds = min(max(round(20 / (1 - confidence)), _MIN_ROUNDS), _MAX_ROUNDS)
    if paired:
        count = min(len(new), len(old))
        new, old = new[:count], old[:count]
    drawn = _drawn(new, qs, rounds, rng)
    drawn /= _drawn(old, qs, rounds, np.random.default_rng(seed) if paired else rng)
    tail = 50 * (1 - confidence)
    lows, highs = np.percentile(drawn, [tail, 100 - tail], axis=1)
    return list(zip(ratios.tolist(), lows.tolist(), highs.tolist(), strict=True))


def _drawn(
    ns: Latencies, qs: Sequence[float], rounds: int, rng: np.random.Generator
) -> npt.NDArray[np.float64]:
    """Return the percentiles of each round of the bootstrap, ``[len(qs), rounds]``."""
    block = min(BLOCK, max(len(ns) // 8, 1))
    blocks = -(-len(ns) // block)
    # Circular: the first and the last samples are drawn as often as the others.
    circle = np.concatenate([ns, ns[: block - 1]])
    offsets = np.arange(block)
    percentiles = []
    each = max(_CELLS // (blocks * block), 1)
    for first in range(0, rounds, each):
        starts = rng.integers(0, len(ns), (min(each, rounds - first), blocks, 1))
        picks = (starts + offsets).reshape(len(starts), -1)[:, : len(ns)]
        percentiles.append(np.percentile(circle[picks], qs, axis=1))
    return np.concatenate(percentiles, axis=1)
