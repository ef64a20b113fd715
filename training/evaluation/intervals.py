"""Confidence intervals of shares and of paired changes, and the faces that a verdict needs.

All intervals are two-sided, at 95 %.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from fer_edge.training.evaluation.metrics import ECE_BINS, ece_bins

Interval = tuple[float, float]

Z = 1.959963984540054
"""Quantile of the standard normal distribution at 97.5 %."""
ROUNDS = 500
"""Number of bootstrap samples of a change of the ECE."""
_SEED = 0
_ROUNDS_AT_ONCE = 50
_STEPS = 60
"""Halvings of a search: an interval end is exact to 2e-18."""
MOST_FACES = 1_000_000
"""Largest number of faces that is named as enough for a verdict."""


def share_interval(count: float, faces: float) -> Interval:
    """Return the score interval of a share.

    Wilson (1927), Journal of the American Statistical Association 22:209-212. It has its level
    near 0 and 1, where the normal interval has not (Brown, Cai and DasGupta, 2001).

    Args:
        count: Number of faces with the property.
        faces: Number of faces, more than 0.

    Returns:
        Lowest and highest share (0..1).
    """
    share, z2 = count / faces, Z * Z / faces
    middle = (share + z2 / 2) / (1 + z2)
    half = Z / (1 + z2) * math.sqrt(max(share * (1 - share), 0) / faces + z2 / (4 * faces))
    # A share of exactly 0 or 1 stays possible whatever rounding does.
    return (0.0 if count == 0 else middle - half), (1.0 if count == faces else middle + half)


def mean_change(values: npt.NDArray[np.floating]) -> dict[str, Any]:
    """Return the mean of paired changes as ``value``, and its normal ``interval``.

    Args:
        values: Changes of a figure of each face, ``[N]``, N of 2 or more.
    """
    mean = float(values.mean())
    half = Z * float(values.std(ddof=1)) / math.sqrt(len(values))
    return {"value": mean, "interval": [mean - half, mean + half]}


def paired_change_interval(gained: float, lost: float, faces: float) -> Interval:
    """Return the score interval of a paired change of a share.

    The share has two answers for the same faces. Tango (1998), Statistics in Medicine 17:891-908.
    At a change of 0 it is McNemar's test. It does not collapse when no face differs: 0 of 336
    leaves 1.1 points either way.

    Args:
        gained: Number of faces that only the second answer has right.
        lost: Number of faces that only the first answer has right.
        faces: Number of faces, more than 0.

    Returns:
        Lowest and highest change (-1..1) of (gained - lost) / faces.
    """
    return (
        -_highest_change(lost, gained, faces),
        _highest_change(gained, lost, faces),
    )


def _highest_change(gained: float, lost: float, faces: float) -> float:
    """Bisect the change at which the score falls to -Z. The score falls with the change."""
    low, high = (gained - lost) / faces, 1.0
    for _ in range(_STEPS):
        change = (low + high) / 2
        b = -gained - lost + (2 * faces - gained + lost) * change
        c = -lost * change * (1 - change)
        share = (math.sqrt(max(b * b - 8 * faces * c, 0.0)) - b) / (4 * faces)
        variance = faces * (2 * share + change * (1 - change))
        distance = gained - lost - faces * change
        if variance > 0 and distance > -Z * math.sqrt(variance):
            low = change
        else:
            high = change
    return (low + high) / 2


def ece_change_interval(
    first: npt.NDArray[np.floating],
    second: npt.NDArray[np.floating],
    truth: npt.NDArray[np.integer],
    independent: float = 1.0,
) -> Interval:
    """Return the interval of the change of the ECE, as ``ece_intervals`` does."""
    return ece_intervals(first, second, truth, independent)[2]


def ece_intervals(
    first: npt.NDArray[np.floating],
    second: npt.NDArray[np.floating],
    truth: npt.NDArray[np.integer],
    independent: float = 1.0,
) -> tuple[Interval, Interval, Interval]:
    """Return the intervals of two ECEs and their change, by paired bootstrap.

    The percentile bootstrap (Efron, 1979) draws faces ROUNDS times. Both answers are
    scored on the same drawn faces, so faces that are hard for both do not widen the interval of the
    change. An ECE's own interval lies too high: drawing adds to the ECE's upward bias. In the
    change it cancels if both are about as well calibrated, as a variant and its network are. If the
    second is far better, the change lies too close to 0: then take the NLL's (``mean_change``).

    Args:
        first: Probabilities ``[N, C]`` of the first model.
        second: Probabilities ``[N, C]`` of the second model.
        truth: Index of the true class, ``[N]``.
        independent: Share (0..1) of the faces that are evidence of their own, more than 0. So many
            are drawn each time: copies of few faces widen the intervals to those of the few.

    Returns:
        Lowest and highest ECE of the first, of the second, and change, second minus first.
    """
    count = len(truth)
    gaps = np.zeros((count, 2, ECE_BINS))
    for k, p in enumerate((first, second)):
        confidence = p.max(1).astype(np.float64)
        gaps[np.arange(count), k, ece_bins(confidence)] = confidence - (p.argmax(1) == truth)
    rng = np.random.default_rng(_SEED)
    evidence = max(round(count * independent), 1)
    parts = []
    for _ in range(0, ROUNDS, _ROUNDS_AT_ONCE):
        drawn = rng.multinomial(evidence, np.full(count, 1 / count), size=_ROUNDS_AT_ONCE)
        parts.append(np.abs((drawn @ gaps.reshape(count, -1)).reshape(-1, 2, ECE_BINS)).sum(2))
    eces = np.concatenate(parts) / evidence
    one, other, change = (
        (float(low), float(high))
        for low, high in (
            np.percentile(values, [2.5, 97.5])
            for values in (eces[:, 0], eces[:, 1], eces[:, 1] - eces[:, 0])
        )
    )
    return one, other, change


def faces_to_tell(interval: Callable[[float], Interval], faces: float, limit: float) -> int | None:
    """Return the number of faces that decides a limit at the same rates.

    Args:
        interval: Returns the interval that ``factor`` times the faces would have.
        faces: Number of faces now that are evidence of their own.
        limit: Limit that the interval must not contain.

    Returns:
        The number of faces; None if it is above MOST_FACES.
    """

    def tells(factor: float) -> bool:
        low, high = interval(factor)
        return not low < limit <= high

    most = MOST_FACES / faces
    if not tells(most):
        return None
    low, high = 1.0, most
    while (high - low) * faces > 1:
        middle = (low + high) / 2
        low, high = (low, middle) if tells(middle) else (middle, high)
    return math.ceil(high * faces)
