"""Verdict on a variant: each figure with its interval, against its limit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from fer_edge.backends.base import Outputs
from fer_edge.parity import Comparison
from fer_edge.training.evaluation.intervals import (
    MOST_FACES,
    Interval,
    ece_change_interval,
    faces_to_tell,
    paired_change_interval,
    share_interval,
)
from fer_edge.training.evaluation.metrics import ece
from fer_edge.verdict import (
    FAILED,
    FP32,
    PASSED,
    QUANTISED,
    UNDECIDED,
    Check,
    Flips,
    Judgement,
    overall,
)


@dataclass(frozen=True)
class ParityLimits:
    """Limits of the gate.

    fp32 is limited by probabilities, other precisions by decisions. Decisions are limited where
    the network answers: a flip between two answers that are withheld is reported and not judged.

    Attributes:
        fp32_max_abs_dp: Largest absolute difference of a probability.
        fp32_embedding_cosine: Smallest cosine between embeddings.
        answered_agreement: Smallest share (0..1) of the answered decisions that are kept.
        accuracy_drop: Largest loss of accuracy, as a share (0..1), at the interval's lower end.
        ece_rise: Largest rise of the expected calibration error.
        recall_drop: Largest loss of a class's recall, as a share (0..1), beyond noise.
    """

    fp32_max_abs_dp: float = 1e-4
    fp32_embedding_cosine: float = 0.9999
    answered_agreement: float = 0.995
    accuracy_drop: float = 0.005
    ece_rise: float = 0.01
    recall_drop: float = 0.03


@dataclass(frozen=True)
class Bar:
    """Limits of a variant, and the facts that they apply to.

    Attributes:
        precision: Precision of the variant; fp32 has limits of its own.
        labels: Names of the classes, in the order of the outputs.
        abstain_below: Confidence (0..1) from which the Predictor answers.
        quantised_reference: The reference is the quantised network in torch.
        allow_drop: Accuracy, as a share (0..1), that a reduced precision may lose. It replaces
            the other limits of reduced precisions; None keeps them.
        independent: Share (0..1) of the faces that are evidence of their own. Copies of few faces
            widen the intervals to those of the few.
        limits: Limits to apply.
    """

    precision: str
    labels: Sequence[str]
    abstain_below: float = 0.0
    quantised_reference: bool = False
    allow_drop: float | None = None
    independent: float = 1.0
    limits: ParityLimits = field(default_factory=ParityLimits)


@dataclass(frozen=True)
class _Answers:
    """Decisions on the same faces. Arrays have a value for each face."""

    first: npt.NDArray[np.floating]
    second: npt.NDArray[np.floating]
    truth: npt.NDArray[np.integer]
    answered: npt.NDArray[np.bool_]
    independent: float

    @property
    def evidence(self) -> float:
        """Number of faces without the copies of them."""
        return len(self.truth) * self.independent

    @property
    def kept(self) -> npt.NDArray[np.bool_]:
        return np.asarray(self.first.argmax(1) == self.second.argmax(1))

    @property
    def gained(self) -> npt.NDArray[np.bool_]:
        return np.asarray(~self.kept & (self.second.argmax(1) == self.truth))

    @property
    def lost(self) -> npt.NDArray[np.bool_]:
        return np.asarray(~self.kept & (self.first.argmax(1) == self.truth))


def judge(reference: Outputs, variant: Outputs, truth: Sequence[str], bar: Bar) -> Judgement:
    """Judge a variant's decisions against the reference's.

    A decision is answered if the reference or the variant is at least as sure as ``abstain_below``.
    Shares have Wilson's interval, changes of accuracy and recall Tango's for pairs, and the change
    of the ECE a paired bootstrap; see training.evaluation.intervals. Shares and accuracy pass with
    their whole interval. The ECE and the recalls pass with the observed figure, and fail only
    beyond noise: for them, no practical number of faces gives a narrow interval.

    Args:
        reference: Probabilities float32 ``[N, C]`` and embeddings of the reference.
        variant: Outputs of the variant for the same faces.
        truth: Label of each face.
        bar: What the variant is held to.

    Returns:
        The verdict and its checks. fp32's checks are reported; fp32 is judged by ``failures``.
    """
    first, second = reference[0], variant[0]
    sure = np.maximum(first.max(1), second.max(1)) >= np.float32(bar.abstain_below)
    names = {name: i for i, name in enumerate(bar.labels)}
    answers = _Answers(
        first, second, np.array([names[name] for name in truth]), sure, bar.independent
    )
    checks = tuple(_checks(answers, bar)) if np.isfinite(second).all() else ()
    return Judgement(
        verdict=overall(checks) if checks else FAILED,
        reference=QUANTISED if bar.quantised_reference else FP32,
        abstain_below=bar.abstain_below,
        checks=checks,
        flips=_flips(answers),
    )


def _flips(answers: _Answers) -> Flips:
    ranked = np.sort(answers.first, axis=1)
    flipped = ~answers.kept
    margins = np.clip((ranked[:, -1] - ranked[:, -2])[flipped], 0, 1)
    if not flipped.any():
        return Flips(0, 0, 0.0, 0.0)
    return Flips(
        faces=int(flipped.sum()),
        answered=int((flipped & answers.answered).sum()),
        margin_p50=float(np.median(margins)),
        margin_max=float(margins.max()),
    )


def _checks(answers: _Answers, bar: Bar) -> list[Check]:
    limits = bar.limits
    judged = bar.precision != "fp32" and bar.allow_drop is None
    drop = limits.accuracy_drop if bar.allow_drop is None else bar.allow_drop
    checks = [_share("agreement", answers, None, None)]
    limit = limits.answered_agreement if judged else None
    if answers.answered.any():
        checks.append(_share("answered_agreement", answers, answers.answered, limit))
    elif judged:
        checks.append(Check("answered_agreement", 1.0, 0.0, 1.0, 0, limit, UNDECIDED))
    lowest = None if bar.precision == "fp32" else -drop
    checks.append(_change("accuracy_change", answers, None, lowest))
    checks.append(_ece(answers, limits.ece_rise if judged else None))
    for i, label in enumerate(bar.labels):
        if (answers.truth == i).any():
            limit = -limits.recall_drop if judged else None
            checks.append(_recall(f"recall_change.{label}", answers, answers.truth == i, limit))
    return checks


def _share(
    name: str, answers: _Answers, of: npt.NDArray[np.bool_] | None, limit: float | None
) -> Check:
    """Check a share of kept decisions. It passes if its whole interval is at or above the limit."""
    kept = answers.kept if of is None else answers.kept[of]
    count, faces = int(kept.sum()), len(kept)

    def interval(factor: float) -> Interval:
        weight = factor * answers.independent
        return share_interval(count * weight, faces * weight)

    return _decided(name, count / faces, interval, faces, answers.evidence, limit)


def _change(
    name: str, answers: _Answers, of: npt.NDArray[np.bool_] | None, limit: float | None
) -> Check:
    """Check a paired change: it passes with the whole interval at or above its limit."""
    gained = int(answers.gained[of].sum() if of is not None else answers.gained.sum())
    lost = int(answers.lost[of].sum() if of is not None else answers.lost.sum())
    faces = int(of.sum()) if of is not None else len(answers.kept)

    def interval(factor: float) -> Interval:
        weight = factor * answers.independent
        return paired_change_interval(gained * weight, lost * weight, faces * weight)

    return _decided(name, (gained - lost) / faces, interval, faces, answers.evidence, limit)


def _decided(
    name: str,
    value: float,
    interval: Callable[[float], Interval],
    faces: int,
    evidence: float,
    limit: float | None,
) -> Check:
    low, high = interval(1.0)
    if limit is None:
        return Check(name, value, low, high, faces)
    if low >= limit:
        return Check(name, value, low, high, faces, limit, PASSED)
    if high < limit:
        return Check(name, value, low, high, faces, limit, FAILED)
    needed = faces_to_tell(interval, evidence, limit)
    return Check(name, value, low, high, faces, limit, UNDECIDED, needed)


def _ece(answers: _Answers, limit: float | None) -> Check:
    """Check the ECE: it passes at or below its limit, and fails beyond noise."""
    first, second, truth = answers.first, answers.second, answers.truth
    value = ece(second, second.argmax(1) == truth) - ece(first, first.argmax(1) == truth)
    low, high = ece_change_interval(first, second, truth, answers.independent)
    low, high = min(low, value), max(high, value)
    check = Check("ece_change", value, low, high, len(truth), limit)
    if limit is None:
        return check
    if value <= limit or low > limit:
        return replace(check, verdict=PASSED if value <= limit else FAILED)
    # The width of a bootstrap interval falls with the root of the number of faces.
    needed = answers.evidence * ((value - low) / (value - limit)) ** 2
    return replace(
        check,
        verdict=UNDECIDED,
        faces_needed=int(np.ceil(needed)) if needed <= MOST_FACES else None,
    )


def _recall(name: str, answers: _Answers, of: npt.NDArray[np.bool_], limit: float | None) -> Check:
    """Check a class's recall: it fails with the whole interval below its limit, else passes."""
    check = _change(name, answers, of, None)
    if limit is None:
        return check
    return replace(check, limit=limit, verdict=FAILED if check.high < limit else PASSED)


def failures(
    figures: Comparison, judgement: Judgement, precision: str, limits: ParityLimits
) -> list[str]:
    """List the reasons why a variant is not written.

    Args:
        figures: Comparison with the reference.
        judgement: Verdict on the same outputs.
        precision: Precision of the variant.
        limits: Limits to apply.

    Returns:
        One sentence for each broken limit, with its figures. A figure that breaks its limit on too
        few faces to tell is among them, with the faces that would tell. Empty if the variant may
        be written.
    """
    if not np.isfinite(figures.max_abs_dp) or not judgement.checks:
        return ["some answers are not numbers"]
    if precision != "fp32":
        return [
            check.doubt if check.verdict == UNDECIDED else str(check)
            for check in judgement.checks
            if check.verdict == FAILED or (check.verdict == UNDECIDED and not check.within)
        ]
    return fp32_failures(figures, limits)


def fp32_failures(figures: Comparison, limits: ParityLimits) -> list[str]:
    """List the limits of fp32 that a comparison breaks, one sentence each."""
    if not np.isfinite(figures.max_abs_dp):
        return ["some answers are not numbers"]
    # NaN fails every comparison, so each limit states what must hold.
    broken = []
    if not figures.max_abs_dp <= limits.fp32_max_abs_dp:
        broken.append(
            f"probabilities differ by up to {figures.max_abs_dp:.2e}, "
            f"{limits.fp32_max_abs_dp:.0e} is allowed"
        )
    if not figures.embedding_cosine_min >= limits.fp32_embedding_cosine:
        broken.append(
            f"the smallest cosine of an embedding is {figures.embedding_cosine_min:.4f}, "
            f"{limits.fp32_embedding_cosine:.4f} is needed"
        )
    return broken
