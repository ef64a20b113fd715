"""What a Predictor answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class Times:
    """Milliseconds of one call, shared by all faces of a batch."""

    preprocess_ms: float
    infer_ms: float
    postprocess_ms: float


@dataclass(frozen=True, slots=True)
class Prediction:
    """One face's expression.

    label: the canonical name with the highest probability, also where ``uncertain``.
    confidence: that probability, calibrated (0..1). probabilities: by name; they sum to 1.
    embedding: float32 ``[D]``, the features before the last layer.
    uncertain: True means "I don't know", and ``reason`` says why. Act on a label only if False.
    """

    label: str
    confidence: float
    probabilities: Mapping[str, float]
    embedding: npt.NDArray[np.float32] = field(compare=False)
    uncertain: bool
    reason: str | None
    times: Times

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON; the embedding is left out."""
        return {
            "label": self.label,
            "confidence": self.confidence,
            "probabilities": dict(self.probabilities),
            "uncertain": self.uncertain,
            "reason": self.reason,
            "times_ms": {
                "preprocess": self.times.preprocess_ms,
                "infer": self.times.infer_ms,
                "postprocess": self.times.postprocess_ms,
            },
        }
