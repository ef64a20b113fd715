"""Losses of soft targets: cross-entropy and focal loss, optionally with class weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from fer_edge.training.config.schema import Fit
from fer_edge.training.data.faces import LabelledFace

Loss = Callable[[Tensor, Tensor], Tensor]


def loss_function(fit: Fit, faces: Sequence[LabelledFace], labels: Sequence[str]) -> Loss:
    """Return the recipe's loss.

    It maps logits and targets, both float32 ``[N, classes]``, to their mean loss in nats.
    """
    weights = class_weights(faces, labels) if fit.class_weights else None
    kind, _, gamma = fit.loss.partition(" ")

    def loss(logits: Tensor, targets: Tensor) -> Tensor:
        w = None if weights is None else weights.to(logits.device)
        if kind == "focal":
            return focal(logits, targets, float(gamma), w, fit.label_smoothing)
        return F.cross_entropy(logits, targets, weight=w, label_smoothing=fit.label_smoothing)

    return loss


def class_weights(faces: Sequence[LabelledFace], labels: Sequence[str]) -> Tensor:
    """Return weights float32 ``[classes]``, inverse to each class's faces.

    The mean weight of a face is 1. A class without faces has the weight 0.
    """
    count = torch.tensor([float(sum(face.label == name for face in faces)) for name in labels])
    present = int((count > 0).sum())
    return torch.where(count > 0, len(faces) / (present * count.clamp_min(1)), 0.0)


def focal(
    logits: Tensor, targets: Tensor, gamma: float, weights: Tensor | None, smoothing: float
) -> Tensor:
    """Return the focal loss in nats (Lin et al., 2017).

    For soft targets t: the mean over faces of ``-sum_c w_c t_c (1 - p_c)^gamma log p_c``.
    """
    targets = (1 - smoothing) * targets + smoothing / targets.shape[1]
    log_p = logits.log_softmax(1)
    # At 0 the derivative of a power below 1 is infinite, and its product with log 1 is NaN.
    rest = (1 - log_p.exp()).clamp_min(torch.finfo(log_p.dtype).eps)
    each = targets * rest.pow(gamma) * log_p
    return -(each if weights is None else each * weights).sum(1).mean()
