"""Steady state of latencies, detected in the samples."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

WINDOW = 24
"""Samples in a window: the least that support a median (timing.MIN_SAMPLES)."""
_MIN_WINDOWS = 8
_TOLERANCE = 0.05
_SIGMAS = 3.0

METHOD = (
    f"Steady state: medians of windows of {WINDOW} samples. Leading windows are discarded until "
    f"two in a row lie within {_TOLERANCE:.0%} (or {_SIGMAS:g} sigma, if that is more) of the "
    "median of the run's second half. Not reached: no two such windows in the first half, or the "
    "last third of the remaining part differs from its first third by more than that. Sigma is "
    "computed from the differences of neighbouring windows, which a drift does not inflate."
)


@dataclass(frozen=True)
class Steady:
    """Steady part of a run.

    Attributes:
        discard: Leading samples to discard.
        reached: Whether a steady state was reached; None if the samples are too few.
    """

    discard: int
    reached: bool | None


def steady(ns: npt.NDArray[np.int64]) -> Steady:
    """Find the steady part of latencies; see METHOD.

    Follows the truncation heuristics for simulation output (MSER and its relatives), with medians
    because latencies contain stalls.

    Args:
        ns: Latencies in the order they were taken.

    Returns:
        The steady part. At most half of the samples are discarded.
    """
    count = len(ns) // WINDOW
    if count < _MIN_WINDOWS:
        return Steady(0, None)
    medians = np.median(ns[: count * WINDOW].reshape(count, WINDOW), 1)
    reference = float(np.median(medians[count // 2 :]))
    # 0.6745: median of |x| of a normal distribution; sqrt 2: a difference has the noise of both.
    sigma = float(np.median(np.abs(np.diff(medians)))) / 0.6745 / 2**0.5
    tolerance = max(_TOLERANCE * reference, _SIGMAS * sigma)
    near = np.abs(medians - reference) <= tolerance
    settled = np.flatnonzero(near[:-1] & near[1:])
    if not len(settled) or settled[0] > count // 2:
        return Steady(count // 2 * WINDOW, False)
    remaining = medians[settled[0] :]
    third = len(remaining) // 3
    moved = abs(float(np.median(remaining[-third:])) - float(np.median(remaining[:third])))
    return Steady(int(settled[0]) * WINDOW, moved <= tolerance)
