"""Temperature and abstention threshold, fitted on faces that training did not see."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

ABSTAIN_TARGET_ACCURACY = 0.8
"""The accuracy that answers above the abstention threshold shall reach on the held-out faces."""


def fit_temperature(logits: Tensor, truth: Tensor) -> float:
    """The T > 0 that minimises the cross entropy of softmax(logits / T) (Guo et al., 2017)."""
    log_t = torch.zeros((), dtype=torch.float64, requires_grad=True)
    minimise([log_t], lambda: nn.functional.cross_entropy(logits.double() / log_t.exp(), truth))
    return float(log_t.detach().exp().clamp(0.05, 20.0))


def best_nll(logits: Tensor, truth: Tensor) -> float:
    """Cross entropy at the best temperature: what chooses an epoch.

    Accuracy on a thousand faces is known to a point and a half and picks an epoch by luck; a plain
    cross entropy punishes the confidence that the temperature is going to take out.
    """
    scaled = logits.double() / fit_temperature(logits, truth)
    return float(nn.functional.cross_entropy(scaled, truth))


def abstention_threshold(probabilities: Tensor, truth: Tensor) -> float:
    """The lowest confidence above which answers are right ABSTAIN_TARGET_ACCURACY of the time.

    Never withholds more than half of the faces: a network that weak needs training, not silence.
    """
    confidence, answer = probabilities.max(1)
    order = confidence.argsort(descending=True)
    right = (answer == truth)[order].double().cumsum(0)
    accuracy = right / torch.arange(1, len(order) + 1)
    good = (accuracy >= ABSTAIN_TARGET_ACCURACY).nonzero()
    fewest = (len(order) + 1) // 2 - 1
    last = max(int(good[-1]) if len(good) else 0, fewest)
    # Rounded down: a threshold above the face that set it would withhold that face.
    return math.floor(1e4 * float(confidence[order[last]])) / 1e4


def minimise(parameters: Sequence[Tensor], loss: Callable[[], Tensor]) -> None:
    """L-BFGS over all of the data at once: for smooth problems with few parameters."""
    optimizer = torch.optim.LBFGS(parameters, max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> Any:
        optimizer.zero_grad()
        value = loss()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimizer.step(closure)  # type: ignore[no-untyped-call]
