"""Temperature and threshold for a camera's faces, and figures on faces left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from fer_edge.progress import Say, say_nothing
from fer_edge.recalibration import HIGHEST, LOWEST, Recalibration
from fer_edge.training.evaluation.calibrate import abstention_threshold, fit_temperature
from fer_edge.training.evaluation.group_figures import share
from fer_edge.training.evaluation.intervals import ece_intervals, mean_change
from fer_edge.training.evaluation.metrics import ece

FOLDS = 5
"""Parts of the data. Figures after adapting are of each part, adapted on the others."""
_FEWEST_OTHERS = 20
"""Least number of faces outside a part, to adapt on."""
MOST_BEYOND = 0.01
"""Share (0..1) of the faces that rounding a threshold may answer beyond the requested share."""
_SEED = 0
_FLOOR = 1e-12
"""Smallest probability whose logarithm is taken."""

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Decision:
    """Rule that turns an engine's probabilities into answers.

    Attributes:
        temperature: Divisor of the logits, on top of the graph's.
        abstain_below: Lowest confidence (0..1) that is answered.
    """

    temperature: float
    abstain_below: float

    def apply(self, probabilities: Floats) -> Floats:
        """Return the probabilities at this temperature."""
        if self.temperature == 1:
            return probabilities
        return Recalibration(self.temperature).apply(probabilities)


def fit(
    probabilities: Floats, truth: Ints, answer: float | None, temperature: float | None = None
) -> Decision:
    """Fit temperature and threshold.

    Args:
        probabilities: Probabilities ``[N, C]`` of the graph.
        truth: Class of each face, ``[N]``.
        answer: Share (0..1) of the faces to answer; None fits the threshold to the labels, as
            training without in-car effects does.
        temperature: Temperature to take instead of a fitted one.
    """
    labels = torch.from_numpy(truth)
    if temperature is None:
        logits = np.log(np.maximum(probabilities.astype(np.float64), _FLOOR))
        fitted = fit_temperature(torch.from_numpy(logits), labels)
        temperature = min(max(fitted, LOWEST), HIGHEST)
    calibrated = Decision(temperature, 0.0).apply(probabilities)
    if answer is not None:
        return Decision(temperature, threshold(calibrated, answer))
    return Decision(temperature, abstention_threshold(torch.from_numpy(calibrated), labels))


def threshold(probabilities: Floats, answer: float) -> float:
    """Return the confidence above which a share of the faces is answered, rounded down.

    It has four digits, or more if so many would answer over MOST_BEYOND of the faces too many.
    """
    confidence = np.sort(probabilities.max(1))[::-1]
    count = max(round(answer * len(confidence)), 1)
    rounded = 0.0
    for scale in (1e4, 1e5, 1e6, 1e7):
        rounded = float(np.floor(scale * float(confidence[count - 1])) / scale)
        if answers(probabilities, rounded).sum() <= count + MOST_BEYOND * len(confidence):
            break
    return rounded


def cross_fitted(
    probabilities: Floats,
    truth: Ints,
    parts: Ints,
    answer: float | None,
    temperature: float | None = None,
) -> tuple[Floats, Bools]:
    """Return probabilities and whether each face is answered, each by the other parts' decision.

    Args:
        probabilities: Probabilities ``[N, C]`` of the graph.
        truth: Class of each face, ``[N]``.
        parts: Part of each face, ``[N]``.
        answer: As for fit.
        temperature: As for fit.
    """
    calibrated, answered = np.empty_like(probabilities), np.empty(len(truth), bool)
    for part in np.unique(parts):
        inside = parts == part
        decision = fit(probabilities[~inside], truth[~inside], answer, temperature)
        calibrated[inside] = decision.apply(probabilities[inside])
        answered[inside] = answers(calibrated[inside], decision.abstain_below)
    return calibrated, answered


def answers(probabilities: Floats, abstain_below: float) -> Bools:
    """Return whether each face's confidence is answered, as inference.predict decides."""
    return np.asarray(probabilities.max(1) >= abstain_below - 1e-6)


def parts_of(subjects: Sequence[str | None], say: Say = say_nothing) -> Ints:
    """Deal faces to FOLDS parts; all faces of a known subject are in one.

    Fewer subjects make fewer parts.

    Args:
        subjects: Subject of each face, or None if unknown.
        say: Told if nearly all faces are one subject's, whose faces then are in all parts.
    """
    one_by_one = np.random.default_rng(_SEED).permutation(np.arange(len(subjects)) % FOLDS)
    if not any(subjects):
        return one_by_one
    people = [subject or f"\0{i}" for i, subject in enumerate(subjects)]
    names = sorted(set(people))
    order = np.random.default_rng(_SEED).permutation(np.arange(len(names)) % FOLDS)
    dealt = dict(zip(names, order, strict=True))
    parts = np.array([dealt[person] for person in people])
    if len(parts) - np.bincount(parts).max() >= _FEWEST_OTHERS:
        return parts
    say(
        "Nearly all faces are of one person: figures after adapting are of faces that were left "
        "out, and not of people. Add faces of other people to measure on people"
    )
    return one_by_one


def nll(probabilities: Floats, truth: Ints) -> float:
    """Return the mean negative logarithm of the truth's probability, in nats."""
    return float(_nlls(probabilities, truth).mean())


def _nlls(probabilities: Floats, truth: Ints) -> npt.NDArray[np.float64]:
    own = probabilities[np.arange(len(truth)), truth].astype(np.float64)
    return -np.log(np.maximum(own, _FLOOR))


def figures(
    truth: Ints,
    before: tuple[Floats, Bools],
    after: tuple[Floats, Bools],
) -> dict[str, Any]:
    """Return figures before and after, with 95 % intervals.

    Args:
        truth: Class of each face, ``[N]``.
        before: Probabilities, and whether each face is answered.
        after: The same after adapting, cross-fitted.

    Returns:
        ``accuracy``; ``ece`` and ``nll`` before, after and their change; ``answered`` and
        ``right_if_answered`` before and after.
    """
    right = before[0].argmax(1) == truth
    first, second, _ = ece_intervals(before[0], after[0], truth)
    eces = [ece(p, right) for p, _ in (before, after)]
    return {
        "accuracy": share(int(right.sum()), len(right)),
        "ece": {
            "before": {"value": eces[0], "interval": list(first)},
            "after": {"value": eces[1], "interval": list(second)},
            # No interval: the calibrated side's ECE is biased upwards, the other's is not.
            "change": {"value": eces[1] - eces[0]},
        },
        "nll": {
            "before": nll(before[0], truth),
            "after": nll(after[0], truth),
            "change": mean_change(_nlls(after[0], truth) - _nlls(before[0], truth)),
        },
        "answered": {
            name: share(int(told.sum()), len(told))
            for name, (_, told) in (("before", before), ("after", after))
        },
        "right_if_answered": {
            name: share(int(right[told].sum()), int(told.sum()))
            for name, (_, told) in (("before", before), ("after", after))
        },
    }
