"""ROC curve and AUC of each class against all others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from fer_edge.training.models import torchvision_compat  # noqa: F401  (before torchmetrics)

from torchmetrics.functional import classification as tm  # isort: skip

_POINTS = 101
"""Number of points in a curve; a plot shows fewer."""


def roc(
    probabilities: npt.NDArray[np.floating[Any]], truth: Sequence[str], labels: Sequence[str]
) -> dict[str, Any]:
    """Compute the ROC curve of each class against the rest (Fawcett, 2006).

    Args:
        probabilities: Probabilities float ``[N, C]``, columns in the order of ``labels``.
        truth: Label of each face, N names.
        labels: Names of the classes.

    Returns:
        ``macro_auc``, the unweighted mean, and ``per_class`` with ``auc`` and ``points`` of
        ``[false positive rate, true positive rate]``. A class with no face, or with all faces, has
        the ``auc`` None and a ``reason``.
    """
    p = torch.from_numpy(np.ascontiguousarray(probabilities, np.float64)).clamp(0, 1)
    per_class: dict[str, dict[str, Any]] = {}
    for i, name in enumerate(labels):
        positive = torch.tensor([label == name for label in truth])
        if positive.all() or not positive.any():
            which = "all faces are" if positive.all() else "no face is"
            reason = f"{which} of this class in the data"
            per_class[name] = {"auc": None, "points": [], "reason": reason}
            continue
        auc = float(tm.binary_auroc(p[:, i], positive.long()))
        per_class[name] = {"auc": auc, "points": _thinned(p[:, i], positive.long())}
    known = [row["auc"] for row in per_class.values() if row["auc"] is not None]
    return {"macro_auc": float(np.mean(known)) if known else None, "per_class": per_class}


def _thinned(scores: torch.Tensor, positive: torch.Tensor) -> list[list[float]]:
    """Return corners of the curve at about equal distances."""
    false_rate, true_rate, _ = tm.binary_roc(scores, positive)
    along = (false_rate + true_rate).double()
    picked = torch.searchsorted(along, torch.linspace(0, 2, _POINTS, dtype=torch.float64))
    corners = sorted({0, *picked.clamp(max=len(along) - 1).tolist()})
    return [[round(float(false_rate[k]), 4), round(float(true_rate[k]), 4)] for k in corners]
