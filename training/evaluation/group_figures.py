"""Figures of a group of faces, and differences between groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fer_edge.training.evaluation.intervals import Z, share_interval

FEW_FACES = 30
"""Number of faces below which a group is marked: its intervals span tens of points."""
ROUNDS = 2000
"""Number of random groupings behind the chance of a difference."""
_SEED = 0
METHOD = (
    "95 % intervals: shares by Wilson's score interval, mean confidence by the normal interval; "
    "they take faces as independent"
)
"""Description of the intervals, for reports."""


def figures_of(
    probabilities: npt.NDArray[np.float32],
    abstains: npt.NDArray[np.bool_],
    labels: Sequence[str],
    truth: npt.NDArray[Any] | None,
    *,
    pictures: int,
) -> dict[str, Any]:
    """Return the figures of one group.

    Args:
        probabilities: Probabilities ``[N, C]``; N may be 0.
        abstains: True for each face on which the model abstains, ``[N]``.
        labels: Names of the classes.
        truth: Label of each face, or None without labels.
        pictures: Number of pictures, with those in which no face was found.

    Returns:
        ``faces``; ``few``; ``no_face``, ``abstained`` and ``answers`` (by class); ``confidence``;
        with labels ``right``, ``right_if_answered`` and ``recall`` (by class). A share is a dict
        of ``share``, ``count``, ``of`` and ``interval``; None where nothing is counted.
    """
    count = len(probabilities)
    best = probabilities.argmax(1)
    figures: dict[str, Any] = {
        "faces": count,
        "few": count < FEW_FACES,
        "no_face": share(pictures - count, pictures),
        "confidence": _mean(probabilities.max(1) if count else np.zeros(0)),
        "abstained": share(int(abstains.sum()), count),
        "answers": {name: share(int((best == i).sum()), count) for i, name in enumerate(labels)},
    }
    if truth is None:
        return figures
    right = np.array(labels)[best] == truth
    figures["right"] = share(int(right.sum()), count)
    figures["right_if_answered"] = share(int(right[~abstains].sum()), int((~abstains).sum()))
    figures["recall"] = {
        name: share(int(right[truth == name].sum()), int((truth == name).sum())) for name in labels
    }
    return figures


def share(count: int, of: int) -> dict[str, Any] | None:
    """Return a share with its score interval, None of nothing."""
    if of == 0:
        return None
    low, high = share_interval(count, of)
    return {"share": count / of, "count": count, "of": of, "interval": [low, high]}


def _mean(values: npt.NDArray[Any]) -> dict[str, Any] | None:
    if not len(values):
        return None
    mean = float(values.mean())
    if len(values) == 1:
        return {"mean": mean, "interval": None}
    half = Z * float(values.std(ddof=1)) / len(values) ** 0.5
    return {"mean": mean, "interval": [max(mean - half, 0.0), min(mean + half, 1.0)]}


def spreads(
    groups: Mapping[str, npt.NDArray[np.bool_]], measures: Mapping[str, npt.NDArray[np.float64]]
) -> dict[str, dict[str, Any]]:
    """Return the largest difference between two groups, and whether chance explains the groups.

    The chance is that of a permutation test (Fisher, 1935): faces are dealt to groups of the same
    sizes at random, ROUNDS times. It compares the variance between all groups, weighted by their
    faces: the largest difference alone would be that of the smallest group.

    Args:
        groups: Members of each group, ``[N]``. Groups below FEW_FACES do not count.
        measures: Number for each face, ``[N]``, whose means are compared.

    Returns:
        For each measure ``low`` and ``high``, the names of the groups; ``difference``; and
        ``chance``, the share (0..1) of random groupings that differ at least as much. Empty
        with fewer than two groups.
    """
    names = [name for name, members in groups.items() if members.sum() >= FEW_FACES]
    if len(names) < 2:
        return {}
    index = np.full(len(next(iter(groups.values()))), -1)
    for i, name in enumerate(names):
        index[groups[name]] = i
    inside = index >= 0
    index = index[inside]
    sizes = np.bincount(index)
    report = {}
    for measure, values in measures.items():
        values = values[inside]
        means = np.bincount(index, weights=values) / sizes
        observed = _between(means, sizes)
        rng = np.random.default_rng(_SEED)
        larger = 0
        for _ in range(ROUNDS):
            drawn = np.bincount(rng.permutation(index), weights=values) / sizes
            larger += _between(drawn, sizes) >= observed - 1e-12
        report[measure] = {
            "low": names[int(means.argmin())],
            "high": names[int(means.argmax())],
            "difference": float(means.max() - means.min()),
            "chance": (larger + 1) / (ROUNDS + 1),
        }
    return report


def _between(means: npt.NDArray[np.float64], sizes: npt.NDArray[np.intp]) -> float:
    """Return the variance of group means, weighted by the groups' sizes."""
    whole = float((means * sizes).sum() / sizes.sum())
    return float((sizes * (means - whole) ** 2).sum() / sizes.sum())
