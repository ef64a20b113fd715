"""Results of a Predictor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class Times:
    """Durations of one call, shared by all faces of a batch.

    Attributes:
        preprocess_ms: Milliseconds to check, crop and resize the images.
        infer_ms: Milliseconds in the engine.
        postprocess_ms: Milliseconds to check the answers and decide about abstaining.
    """

    preprocess_ms: float
    infer_ms: float
    postprocess_ms: float


@dataclass(frozen=True, slots=True)
class Prediction:
    """Expression of one face.

    Attributes:
        label: Class with the highest probability, also if ``uncertain``.
        confidence: Calibrated probability (0..1) of ``label``.
        probabilities: Probability (0..1) by class name, in the order of ``Predictor.labels``.
        embedding: Features before the last layer, float32 ``[D]``.
        uncertain: The model abstains. Act on the label only if this is False.
        reason: Reason for abstaining; None if ``uncertain`` is False.
        times: Durations of the call.
    """

    label: str
    confidence: float
    probabilities: Mapping[str, float]
    embedding: npt.NDArray[np.float32] = field(compare=False)
    uncertain: bool
    reason: str | None
    times: Times

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON, without the embedding.

        Returns:
            Keys ``label``, ``confidence``, ``probabilities``, ``uncertain``, ``reason`` and
            ``times_ms`` (``preprocess``, ``infer``, ``postprocess``).
        """
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
