"""Recalibration of a bundle's probabilities on the host, after the graph."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fer_edge.json_check import read_number, read_object

LOWEST, HIGHEST = 0.05, 20.0
"""Smallest and largest temperature."""


@dataclass(frozen=True)
class Recalibration:
    """Temperature that divides the logits once more.

    The graph's softmax is at the network's temperature already. ``p ** (1 / T)``, normalised, is
    the softmax of those logits over T: exact, without the logits, and the same after every engine.
    The most probable class stays.

    Attributes:
        temperature: Divisor of the logits; above 1, answers become less sure.
    """

    temperature: float

    @staticmethod
    def parse(value: Any, where: str) -> Recalibration:
        """Read a recalibration. Raises ValueError."""
        item = read_object(value, where, ("temperature",))
        return Recalibration(
            read_number(item["temperature"], f"{where}.temperature", LOWEST, HIGHEST)
        )

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)

    def apply(self, probabilities: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Return recalibrated probabilities, float32 ``[N, C]``.

        Args:
            probabilities: Probabilities of an engine, ``[N, C]``. Rounding below 0 counts as 0.
        """
        # Scaled by the largest first: at T = 0.05, the 20th power of 0.1 is still a float64, and
        # that of 1e-20 is not.
        shares = np.maximum(probabilities.astype(np.float64), 0)
        shares /= shares.max(1, keepdims=True)
        shares **= 1 / self.temperature
        return np.asarray(shares / shares.sum(1, keepdims=True), np.float32)
