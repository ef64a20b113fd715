"""What a person looks like at rest, and expressions seen against it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from fer_edge.monitor.state import Baseline

Probabilities = npt.NDArray[np.float64]
"""float64 ``[C]`` that sum to 1, in the order of the bundle's labels."""


class BaselineLearner:
    """The mean of the probabilities over the first ``needed_s`` seconds of good view, weighted by
    time. Then it stays."""

    def __init__(self, labels: Sequence[str], needed_s: float) -> None:
        self._labels = tuple(labels)
        self._needed_s = needed_s
        self._seen_s = 0.0
        self._mean = np.zeros(len(self._labels))

    @property
    def ready(self) -> bool:
        return self._seen_s >= self._needed_s

    def learn(self, probabilities: Probabilities, passed_s: float) -> None:
        """passed_s: for how long the face has looked so."""
        if self.ready or passed_s <= 0:
            return
        self._seen_s += passed_s
        self._mean += (probabilities - self._mean) * (passed_s / self._seen_s)

    def relative(self, probabilities: Probabilities) -> Probabilities:
        """The probabilities with the face at rest as "neutral".

        Each other label keeps ``(p - b) / (1 - b)`` of what is above its baseline ``b``, and
        neutral gets the rest. So the baseline itself becomes all neutral, a certain expression
        stays certain, and they sum to 1. Unchanged until learned, or without a neutral label.
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
        known = self._seen_s > 0
        mean = dict(zip(self._labels, self._mean.tolist(), strict=True)) if known else {}
        return Baseline(self.ready, min(self._seen_s, self._needed_s), self._needed_s, mean)
