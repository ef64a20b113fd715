"""Baseline of a face at rest, and expressions relative to it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from fer_edge.monitor.state import Baseline

Probabilities = npt.NDArray[np.float64]
"""float64 ``[C]`` with sum 1, in the order of the bundle's labels."""


class BaselineLearner:
    """Time-weighted mean of the probabilities over the first seconds of good view.

    Args:
        labels: The bundle's labels, in the order of the probabilities.
        needed_s: Seconds of good view until the mean is fixed.
    """

    def __init__(self, labels: Sequence[str], needed_s: float) -> None:
        self._labels = tuple(labels)
        self._needed_s = needed_s
        self._seen_s = 0.0
        self._mean = np.zeros(len(self._labels))

    @property
    def ready(self) -> bool:
        """True once the mean is fixed."""
        return self._seen_s >= self._needed_s

    def learn(self, probabilities: Probabilities, passed_s: float) -> None:
        """Add probabilities that held for ``passed_s`` seconds, unless the mean is fixed."""
        if self.ready or passed_s <= 0:
            return
        self._seen_s += passed_s
        self._mean += (probabilities - self._mean) * (passed_s / self._seen_s)

    def relative(self, probabilities: Probabilities) -> Probabilities:
        """Return the probabilities with the face at rest as "neutral".

        A label with the baseline ``b`` gets ``max(p - b, 0) / (1 - b)``. Neutral gets the rest, so
        that they sum to 1. The baseline itself becomes all neutral; a certain expression stays
        certain. Returns the probabilities unchanged until the mean is fixed, and if the bundle has
        no label "neutral".
        """
        if not self.ready or "neutral" not in self._labels:
            return probabilities
        rest = np.minimum(self._mean, 0.99)
        above = np.maximum(probabilities - rest, 0.0) / (1.0 - rest)
        neutral = self._labels.index("neutral")
        above[neutral] = 0.0
        above[neutral] = max(1.0 - above.sum(), 0.0)
        return np.asarray(above)

    def state(self) -> Baseline:
        """Return the progress and the mean so far."""
        known = self._seen_s > 0
        mean = dict(zip(self._labels, self._mean.tolist(), strict=True)) if known else {}
        return Baseline(self.ready, min(self._seen_s, self._needed_s), self._needed_s, mean)
