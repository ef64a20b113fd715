"""Temperature and abstention threshold, fitted on held-out faces."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

ABSTAIN_TARGET_ACCURACY = 0.8
"""Least accuracy (0..1) of answers above the threshold, on held-out faces."""
BAR, FEW = 0.75, 0.20
"""Least share right among the answers, or largest share answered, under each effect."""
_STEP = 0.005
"""Distance of the thresholds that are tried under effects."""


def fit_temperature(logits: Tensor, truth: Tensor) -> float:
    """Fit the temperature of the softmax.

    Minimises the cross-entropy of softmax(logits / T) over T > 0.

    Temperature scaling of Guo et al., 2017; T is clamped to 0.05..20. One more face with a uniform
    label counts too (as in Platt, 1999). Without it, a few faces that are all right would ask
    for T = 0, and every answer would be certain.

    Args:
        logits: Logits float ``[N, classes]``.
        truth: Class indices int64 ``[N]``.
    """
    log_t = torch.zeros((), dtype=torch.float64, requires_grad=True)
    smoothing = 1 / (len(truth) + 1)

    def loss() -> Tensor:
        scaled = logits.double() / log_t.exp()
        return nn.functional.cross_entropy(scaled, truth, label_smoothing=smoothing)

    minimise([log_t], loss)
    return float(log_t.detach().exp().clamp(0.05, 20.0))


def best_nll(logits: Tensor, truth: Tensor) -> float:
    """Return the cross-entropy in nats at the best temperature.

    It selects the best epoch.

    Accuracy on a thousand faces has an error of 1.5 points and selects an epoch by chance. Plain
    cross-entropy penalises overconfidence that the temperature removes later.
    """
    scaled = logits.double() / fit_temperature(logits, truth)
    return float(nn.functional.cross_entropy(scaled, truth))


def abstention_threshold(probabilities: Tensor, truth: Tensor) -> float:
    """Return the lowest confidence at which answers reach ABSTAIN_TARGET_ACCURACY.

    The threshold withholds at most half of the faces: a network that needs more abstention needs
    more training.

    Args:
        probabilities: Calibrated probabilities float ``[N, classes]``.
        truth: Class indices int64 ``[N]``.
    """
    confidence, answer = probabilities.max(1)
    order = confidence.argsort(descending=True)
    right = (answer == truth)[order].double().cumsum(0)
    accuracy = right / torch.arange(1, len(order) + 1)
    good = (accuracy >= ABSTAIN_TARGET_ACCURACY).nonzero()
    fewest = (len(order) + 1) // 2 - 1
    last = max(int(good[-1]) if len(good) else 0, fewest)
    # Rounded down: the face that defines the threshold must pass it.
    return math.floor(1e4 * float(confidence[order[last]])) / 1e4


def threshold_under_effects(lowest: float, effects: Sequence[Tensor], truth: Tensor) -> float:
    """Return the lowest threshold at which a network is sure only where it is right.

    Under each effect, at least BAR of the answers are right, or at most FEW of the faces are
    answered. The share of right answers exceeds BAR by its standard error. A share that only just
    reaches BAR on these faces would miss BAR on others half of the time.

    Args:
        lowest: Threshold (0..1) that holds without effects.
        effects: Calibrated probabilities float ``[N, classes]`` under each effect.
        truth: Class indices int64 ``[N]``.

    Returns:
        ``lowest``, or the first multiple of a small step above it at which every effect holds.
    """
    if all(_holds(probabilities, truth, lowest) for probabilities in effects):
        return lowest
    first = math.floor(lowest / _STEP) + 1
    for number in range(first, round(1 / _STEP)):
        threshold = round(number * _STEP, 4)
        if all(_holds(probabilities, truth, threshold) for probabilities in effects):
            return threshold
    return 1.0


def _holds(probabilities: Tensor, truth: Tensor, threshold: float) -> bool:
    confidence, answer = probabilities.max(1)
    answered = confidence >= threshold
    right = int((answered & (answer == truth)).sum())
    count = int(answered.sum())
    error = math.sqrt(BAR * (1 - BAR) * count)
    return count <= FEW * len(truth) or right >= BAR * count + error


def minimise(parameters: Sequence[Tensor], loss: Callable[[], Tensor]) -> None:
    """Minimise a smooth loss of few parameters with full-batch L-BFGS."""
    optimizer = torch.optim.LBFGS(parameters, max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> Any:
        optimizer.zero_grad()
        value = loss()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimizer.step(closure)  # type: ignore[no-untyped-call]
