"""How far a figure would move with other faces: percentile intervals (Efron, 1979) over faces."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

LEVEL = 0.95
ROUNDS = 2000
SEED = 0
METHOD = (
    f"{LEVEL:.0%} percentile bootstrap over faces, {ROUNDS:,} draws, seed {SEED}: other faces of "
    "the same kind, not another training run and not another camera"
)

Counts = npt.NDArray[np.int64]
Interval = list[float]


def intervals(confusion: Sequence[Sequence[int]], labels: Sequence[str]) -> dict[str, Any]:
    """``[low, high]`` of what a confusion matrix says: accuracy, balanced accuracy, macro and
    weighted F1, and for each class recall, precision and F1 (None for a class without faces).

    confusion: ``[i][j]`` faces of class i that were called j. Faces that are drawn one by one
    with replacement fill its cells as a multinomial does, so the cells are drawn at once.
    """
    seen = np.array(confusion)
    drawn = _draw(seen.ravel()).reshape(ROUNDS, *seen.shape)
    figures = _figures(drawn)
    present = seen.sum(1) > 0
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
    """Second minus first on the same faces, with its interval: accuracy and macro F1.

    Both answer each drawn face, so that what is hard for both does not widen the interval.
    """
    names = sorted({*truth, *first, *second})
    index = {name: i for i, name in enumerate(names)}
    triples = np.array([[index[n] for n in row] for row in zip(truth, first, second, strict=True)])
    cells, counts = np.unique(triples, axis=0, return_counts=True)
    drawn = np.concatenate([counts[None], _draw(counts)])  # the first row is what was seen
    one, other = (_figures(_confusions(drawn, cells[:, [0, k]], len(names))) for k in (1, 2))
    found = {}
    for name in ("accuracy", "macro_f1"):
        change = other[name] - one[name]
        found[name] = {"change": float(change[0]), "interval": _interval(change[1:])}
    return found


def mean_interval(values: npt.NDArray[np.float64]) -> Interval:
    """The interval of the mean of one value for each face."""
    rng = np.random.default_rng(SEED)
    means = [values[rng.integers(0, len(values), len(values))].mean() for _ in range(ROUNDS)]
    return _interval(np.array(means))


_WHOLE = ("accuracy", "balanced_accuracy", "macro_f1", "weighted_f1")
_BY_CLASS = ("recall", "precision", "f1")


def _draw(counts: Counts) -> Counts:
    rng = np.random.default_rng(SEED)
    return rng.multinomial(counts.sum(), counts / counts.sum(), size=ROUNDS)


def _confusions(drawn: Counts, pairs: Counts, classes: int) -> Counts:
    """``[rounds, classes, classes]`` from the number of faces in each (truth, answer) cell."""
    found = np.zeros((len(drawn), classes, classes), np.int64)
    for column, (truth, answer) in zip(drawn.T, pairs, strict=True):
        found[:, truth, answer] += column
    return found


def _figures(confusions: Counts) -> dict[str, npt.NDArray[np.float64]]:
    """evaluation.metrics for many matrices at once; NaN for an absent class."""
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
