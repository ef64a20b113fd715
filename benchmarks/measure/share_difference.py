"""Confidence intervals of differences of shares of a stream's frames: batch means."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

PARTS = 24
"""Equal parts of a stream whose frames are counted apart."""
LEAST_FRAMES = PARTS * 24
"""Least frames of a stream whose shares are compared."""


def by_part(frames: npt.NDArray[np.bool_]) -> list[int]:
    """Return the count of marked frames in each of PARTS equal parts of a stream."""
    return [int(part.sum()) for part in np.array_split(frames, PARTS)]


def share_difference(
    new: Sequence[int], new_frames: int, old: Sequence[int], old_frames: int, confidence: float
) -> tuple[float, float]:
    """Return the confidence interval of the difference of two shares, each end -1 to 1.

    Batch means: a stall spoils many frames in a row, so single frames are no independent
    evidence, and parts of the stream are.

    Args:
        new: Marked frames in each part (``by_part``).
        new_frames: Frames of all parts together.
        old: Marked frames in each part of the stream to compare with.
        old_frames: Frames of all its parts together.
        confidence: Share (0..1) of intervals that contain the true difference.
    """
    new_share, new_variance = _mean(new, new_frames)
    old_share, old_variance = _mean(old, old_frames)
    margin = _quantile((1 + confidence) / 2) * math.sqrt(new_variance + old_variance)
    difference = new_share - old_share
    return max(difference - margin, -1.0), min(difference + margin, 1.0)


def _mean(counts: Sequence[int], frames: int) -> tuple[float, float]:
    """Return the mean share of the parts, and the variance of that mean."""
    shares = np.asarray(counts, float) * len(counts) / frames
    return float(shares.mean()), float(shares.var(ddof=1)) / len(counts)


def _quantile(level: float) -> float:
    """Return the quantile of Student's t with PARTS - 1 degrees of freedom (Cornish-Fisher)."""
    z = NormalDist().inv_cdf(level)
    n = PARTS - 1
    return z + (z**3 + z) / (4 * n) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * n**2)
