"""Confidence intervals over faces: percentile bootstrap (Efron, 1979)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

LEVEL = 0.95
"""Confidence level (0..1) of the intervals."""
ROUNDS = 2000
"""Number of bootstrap samples."""
SEED = 0
METHOD = (
    f"{LEVEL:.0%} percentile bootstrap over faces, {ROUNDS:,} draws, seed {SEED}: covers other "
    "faces of the same kind, not another training run or camera"
)
"""Description of the method, for reports."""

Counts = npt.NDArray[np.int64]
Interval = list[float]


def intervals(confusion: Sequence[Sequence[int]], labels: Sequence[str]) -> dict[str, Any]:
    """Return intervals ``[low, high]`` of the figures of a confusion matrix.

    Faces drawn with replacement fill the cells as a multinomial does, so the cells are drawn at
    once.

    Args:
        confusion: ``[i][j]`` counts faces of class i that were predicted as j.
        labels: Names of the classes.

    Returns:
        Intervals of accuracy, balanced accuracy, macro and weighted F1, and for each class of
        recall, precision and F1 (None for a class without faces).
    """
    observed = np.array(confusion)
    drawn = _draw(observed.ravel()).reshape(ROUNDS, *observed.shape)
    figures = _figures(drawn)
    present = observed.sum(1) > 0
    return {
        **{name: _interval(figures[name]) for name in _WHOLE},
        "per_class": {
            label: {
                name: _interval(figures[name][:, i]) if present[i] else None for name in _BY_CLASS
            }
            for i, label in enumerate(labels)
        },
    }


def difference(
    truth: Sequence[str], first: Sequence[str], second: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """Return the change of accuracy and macro F1, with intervals.

    Both models are scored on the same drawn faces, so faces that are hard for both do not widen
    the interval.

    Args:
        truth: Label of each face.
        first: Predictions of the first model.
        second: Predictions of the second model.

    Returns:
        For ``accuracy`` and ``macro_f1``: ``change`` and its ``interval``.
    """
    names = sorted({*truth, *first, *second})
    index = {name: i for i, name in enumerate(names)}
    triples = np.array([[index[n] for n in row] for row in zip(truth, first, second, strict=True)])
    cells, counts = np.unique(triples, axis=0, return_counts=True)
    drawn = np.concatenate([counts[None], _draw(counts)])  # row 0: observed
    one, other = (_figures(_confusions(drawn, cells[:, [0, k]], len(names))) for k in (1, 2))
    report = {}
    for name in ("accuracy", "macro_f1"):
        change = other[name] - one[name]
        report[name] = {"change": float(change[0]), "interval": _interval(change[1:])}
    return report


def mean_interval(values: npt.NDArray[np.float64]) -> Interval:
    """Return the interval of the mean of one value per face."""
    rng = np.random.default_rng(SEED)
    means = [values[rng.integers(0, len(values), len(values))].mean() for _ in range(ROUNDS)]
    return _interval(np.array(means))


_WHOLE = ("accuracy", "balanced_accuracy", "macro_f1", "weighted_f1")
_BY_CLASS = ("recall", "precision", "f1")


def _draw(counts: Counts) -> Counts:
    rng = np.random.default_rng(SEED)
    return rng.multinomial(counts.sum(), counts / counts.sum(), size=ROUNDS)


def _confusions(drawn: Counts, pairs: Counts, classes: int) -> Counts:
    """Return ``[rounds, classes, classes]`` from face counts of each (truth, answer) cell."""
    confusions = np.zeros((len(drawn), classes, classes), np.int64)
    for column, (truth, answer) in zip(drawn.T, pairs, strict=True):
        confusions[:, truth, answer] += column
    return confusions


def _figures(confusions: Counts) -> dict[str, npt.NDArray[np.float64]]:
    """Compute evaluation.metrics for many matrices at once; NaN for an absent class."""
    right = np.diagonal(confusions, axis1=1, axis2=2).astype(float)
    support, answers = confusions.sum(2), confusions.sum(1)
    present = support > 0
    with np.errstate(invalid="ignore"):
        recall = np.where(present, right / support, np.nan)
        precision = np.where(answers > 0, right / np.maximum(answers, 1), 0.0)
        f1 = np.where(present, 2 * right / np.maximum(support + answers, 1), np.nan)
    return {
        "accuracy": right.sum(1) / support.sum(1),
        "balanced_accuracy": np.nanmean(recall, 1),
        "macro_f1": np.nanmean(f1, 1),
        "weighted_f1": np.nansum(f1 * support, 1) / support.sum(1),
        "recall": recall,
        "precision": precision,
        "f1": f1,
    }


def _interval(drawn: npt.NDArray[np.float64]) -> Interval:
    tail = 50 * (1 - LEVEL)
    return [float(v) for v in np.nanpercentile(drawn, [tail, 100 - tail])]
