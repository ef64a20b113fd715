"""Metrics of predictions, for training, evaluation and parity."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from fer_edge.training.models import torchvision_compat  # noqa: F401  (before torchmetrics)

from torchmetrics.functional import classification as tm  # isort: skip

ECE_BINS = 15
"""Number of equal-width confidence bins of the ECE (Guo et al., 2017)."""


def metrics(
    probabilities: npt.NDArray[np.floating[Any]], truth: Sequence[str], labels: Sequence[str]
) -> dict[str, Any]:
    """Compute accuracy, macro and weighted metrics, calibration and the confusion matrix.

    docs/reference/evaluation.md defines each metric. Macro metrics are means over the classes that
    have faces: macro recall is the balanced accuracy. Weighted metrics weigh each class by its
    faces: weighted recall is the accuracy. The precision of a class that is never predicted is 0.

    Args:
        probabilities: Probabilities float ``[N, C]``, columns in the order of ``labels``.
        truth: Label of each face, N names.
        labels: Names of the classes.

    Returns:
        Rates as shares (0..1); ``nll`` in nats; ``confusion[i][j]``, the number of faces of class
        i that were predicted as j; ``per_class``, ``coverage`` and ``reliability``.
    """
    # Engines round a certain answer to 1.0000001, which torchmetrics would take for a logit.
    shares = np.ascontiguousarray(probabilities, np.float64).clip(0, 1)
    p = torch.from_numpy(shares)
    t = torch.tensor([list(labels).index(name) for name in truth])
    c = len(labels)
    recall = tm.multiclass_recall(p, t, c, average="none")
    precision = tm.multiclass_precision(p, t, c, average="none")
    f1 = tm.multiclass_f1_score(p, t, c, average="none")
    support = torch.bincount(t, minlength=c)
    present = support > 0
    confusion = tm.multiclass_confusion_matrix(p, t, c)
    return {
        "faces": len(t),
        "accuracy": float((p.argmax(1) == t).double().mean()),
        "balanced_accuracy": float(recall[present].mean()),
        "macro_precision": float(precision[present].mean()),
        "macro_f1": float(f1[present].mean()),
        "weighted_precision": float(tm.multiclass_precision(p, t, c, average="weighted")),
        "weighted_f1": float(tm.multiclass_f1_score(p, t, c, average="weighted")),
        "ece": ece(shares, shares.argmax(1) == t.numpy()),
        "nll": float(torch.nn.functional.nll_loss(p.clamp_min(1e-12).log(), t)),
        "per_class": {
            name: {
                "recall": float(recall[i]),
                "precision": float(precision[i]),
                "f1": float(f1[i]),
                "support": int(support[i]),
            }
            for i, name in enumerate(labels)
        },
        "confusion": confusion.tolist(),
        "coverage": coverage_curve(probabilities, t.numpy()),
        "reliability": reliability(shares, t.numpy()),
    }


def coverage_curve(
    probabilities: npt.NDArray[np.floating[Any]], truth: npt.NDArray[np.integer[Any]]
) -> list[dict[str, float]]:
    """Return accuracy at coverages 0.1 to 1, most confident answers first.

    Each of equally confident answers counts as their mean: their order says nothing.
    """
    confidence, correct = probabilities.max(1), probabilities.argmax(1) == truth
    order = np.argsort(-confidence, kind="stable")
    _, ties, sizes = np.unique(-confidence, return_inverse=True, return_counts=True)
    means = np.bincount(ties, weights=correct) / sizes
    running = np.cumsum(means[ties[order]]) / np.arange(1, len(order) + 1)
    rows = []
    for coverage in np.arange(0.1, 1.0001, 0.1):
        answered = max(1, round(coverage * len(order)))
        rows.append(
            {
                "coverage": answered / len(order),
                "accuracy": float(running[answered - 1]),
                "threshold": float(confidence[order[answered - 1]]),
            }
        )
    return rows


def ece(probabilities: npt.NDArray[np.floating[Any]], right: npt.NDArray[np.bool_]) -> float:
    """Return the expected calibration error.

    Args:
        probabilities: Probabilities float ``[N, C]``.
        right: True for each face whose answer is right, ``[N]``.
    """
    confidence = probabilities.max(1).astype(np.float64)
    gaps = np.bincount(ece_bins(confidence), weights=confidence - right, minlength=ECE_BINS)
    return float(np.abs(gaps).sum() / len(right))


def ece_bins(confidence: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.intp]:
    """Return the ECE bin of each confidence. A value on a border belongs to the lower bin."""
    edges = np.linspace(0, 1, ECE_BINS + 1)
    return np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, ECE_BINS - 1)


def reliability(
    probabilities: npt.NDArray[np.floating[Any]], truth: npt.NDArray[np.integer[Any]]
) -> list[dict[str, float]]:
    """Return number of faces, mean confidence and accuracy of each ECE bin."""
    confidence, correct = probabilities.max(1), probabilities.argmax(1) == truth
    bins = ece_bins(confidence)
    rows = []
    for i in range(ECE_BINS):
        inside = bins == i
        count = int(inside.sum())
        rows.append(
            {
                "faces": count,
                "confidence": float(confidence[inside].mean()) if count else (i + 0.5) / ECE_BINS,
                "accuracy": float(correct[inside].mean()) if count else 0.0,
            }
        )
    return rows
