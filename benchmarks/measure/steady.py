"""Where the steady state begins: detected in the samples, not assumed after a fixed warm-up."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

WINDOW = 24
"""Samples in a window: as many as carry a median (timing.MIN_SAMPLES)."""
_MIN_WINDOWS = 8
_TOLERANCE = 0.05
_SIGMAS = 3.0

METHOD = (
    f"Steady state: medians of windows of {WINDOW} samples. Leading windows are discarded until "
    f"two in a row lie within {_TOLERANCE:.0%} (or {_SIGMAS:g} sigma, if that is more) of the "
    "median of the run's second half. Not steady: none such in the first half, or the kept part's "
    "last third is off its first third by more than that. Sigma comes from the differences of "
    "neighbouring windows, which a drift does not inflate."
)


@dataclass(frozen=True)
class Steady:
    """discard: leading samples to leave out. reached: None where there are too few to tell."""

    discard: int
    reached: bool | None


def steady(ns: npt.NDArray[np.int64]) -> Steady:
    """Find the steady part of latencies in the order they were taken; see METHOD.

    In the spirit of the truncation heuristics for simulation output (MSER and its kin), with
    medians, because latency has stalls in it. Discards never more than half of the samples.
    """
    count = len(ns) // WINDOW
    if count < _MIN_WINDOWS:
        return Steady(0, None)
    medians = np.median(ns[: count * WINDOW].reshape(count, WINDOW), 1)
    reference = float(np.median(medians[count // 2 :]))
    # 0.6745 sigma: half of a normal distribution; sqrt 2: a difference has both its ends' noise.
    sigma = float(np.median(np.abs(np.diff(medians)))) / 0.6745 / 2**0.5
    tolerance = max(_TOLERANCE * reference, _SIGMAS * sigma)
    near = np.abs(medians - reference) <= tolerance
    settled = np.flatnonzero(near[:-1] & near[1:])
    if not len(settled) or settled[0] > count // 2:
        return Steady(count // 2 * WINDOW, False)
    kept = medians[settled[0] :]
    third = len(kept) // 3
    moved = abs(float(np.median(kept[-third:])) - float(np.median(kept[:third])))
    return Steady(int(settled[0]) * WINDOW, moved <= tolerance)
