"""Each class against all others: ROC curve and the area under it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from fer_edge.training.models import torchvision_compat  # noqa: F401  (before torchmetrics)

from torchmetrics.functional import classification as tm  # isort: skip

_POINTS = 101
"""Points that are kept of a curve: more than a picture shows."""


def roc(
    probabilities: npt.NDArray[np.floating[Any]], truth: Sequence[str], labels: Sequence[str]
) -> dict[str, Any]:
    """``auc``, one against the rest (Fawcett, 2006), and ``points`` ``[false, true positive rate]``
    for each class, and their unweighted mean, ``macro_auc``.

    probabilities: ``[N, C]``, columns in the order of labels. A class that has no face, or all of
    them, has no curve: ``auc`` is None there, and ``reason`` says why.
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
    """Corners of the curve at about equal distances along it."""
    false_rate, true_rate, _ = tm.binary_roc(scores, positive)
    along = (false_rate + true_rate).double()
    picked = torch.searchsorted(along, torch.linspace(0, 2, _POINTS, dtype=torch.float64))
    corners = sorted({0, *picked.clamp(max=len(along) - 1).tolist()})
    return [[round(float(false_rate[k]), 4), round(float(true_rate[k]), 4)] for k in corners]
