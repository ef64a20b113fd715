"""A verdict says what the faces can tell: passed, failed, or how many faces would tell."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from fer_edge.backends.base import Outputs
from fer_edge.converters.pipeline.gate import Bar, ParityLimits, failures, judge
from fer_edge.converters.pipeline.parity import compare
from fer_edge.verdict import FAILED, FP32, PASSED, QUANTISED, UNDECIDED, Judgement

LABELS = ("anger", "fear", "happiness", "neutral")
THRESHOLD = 0.5
INT8 = Bar("int8", LABELS, THRESHOLD)
COPIES = replace(INT8, independent=0.05)
"""For 20 copies of each face."""

Floats = npt.NDArray[np.float32]


def network(faces: int, seed: int = 0, withheld: float = 0.2) -> tuple[Floats, list[str]]:
    """A calibrated network: it is right as often as it says. A share of the faces is withheld."""
    rng = np.random.default_rng(seed)
    top = np.where(rng.random(faces) < withheld, 0.4, rng.uniform(0.6, 0.99, faces))
    decisions = rng.integers(0, 4, faces)
    p = np.repeat(((1 - top) / 3)[:, None], 4, axis=1)
    p[np.arange(faces), decisions] = top
    right = rng.random(faces) < top
    truth = np.where(right, decisions, (decisions + 1) % 4)
    return p.astype(np.float32), [LABELS[i] for i in truth]


def outputs(p: Floats) -> Outputs:
    return p, np.ones((len(p), 3), np.float32)


def flipped(p: Floats, faces: npt.NDArray[np.intp]) -> Floats:
    """The second variant decides for the next class on these faces, as surely as before."""
    q = p.copy()
    q[faces] = np.roll(q[faces], 1, axis=1)
    return q


def verdict(p: Floats, q: Floats, truth: list[str], bar: Bar = INT8) -> Judgement:
    return judge(outputs(p), outputs(q), truth, bar)


def complaints(p: Floats, q: Floats, truth: list[str], bar: Bar = INT8) -> list[str]:
    figures = compare(outputs(p), outputs(q), truth, LABELS)
    return failures(figures, verdict(p, q, truth, bar), bar.precision, bar.limits)


def answered(p: Floats) -> npt.NDArray[np.intp]:
    return np.flatnonzero(p.max(1) >= THRESHOLD)


def withheld(p: Floats) -> npt.NDArray[np.intp]:
    return np.flatnonzero(p.max(1) < THRESHOLD)


# --- enough faces --------------------------------------------------------------------------------


def test_the_same_answers_pass_on_enough_faces_and_no_sooner() -> None:
    p, truth = network(2000)
    assert verdict(p, p, truth).verdict == PASSED
    few = verdict(p[:280], p[:280], truth[:280])
    assert few.verdict == UNDECIDED
    assert few.faces_needed is not None
    enough = few.faces_needed
    assert 765 / 0.85 < enough < 765 / 0.75
    again, labels = network(enough + 20)
    assert verdict(again, again, labels).check("answered_agreement").verdict == PASSED


def test_97_86_percent_of_280_faces_is_no_failure_and_no_pass() -> None:
    """Six faces of 280 differ: the sentence says how many faces would tell."""
    p, truth = network(280, withheld=0)
    q = flipped(p, answered(p)[:2])
    judged = verdict(p, q, truth)
    check = judged.check("answered_agreement")
    assert (judged.verdict, check.verdict) == (UNDECIDED, UNDECIDED)
    assert check.low < 0.995 < check.high
    assert judged.warning is not None
    assert f"{check.faces_needed:,} faces would tell" in judged.warning


def test_the_number_of_faces_that_would_tell_tells() -> None:
    p, truth = network(1000, withheld=0)
    check = verdict(p, flipped(p, np.arange(2)), truth).check("answered_agreement")
    assert check.verdict == UNDECIDED
    assert check.faces_needed is not None
    more, labels = network(check.faces_needed, withheld=0)
    same_rate = flipped(more, np.arange(int(0.002 * len(more))))
    assert verdict(more, same_rate, labels).check("answered_agreement").verdict == PASSED


def test_a_figure_at_its_limit_is_told_by_no_number_of_faces() -> None:
    p, truth = network(1000, withheld=0)
    check = verdict(p, flipped(p, np.arange(5)), truth).check("answered_agreement")
    assert check.value == 0.995
    assert (check.verdict, check.faces_needed) == (UNDECIDED, None)
    assert "no practical number of faces" in check.doubt


def test_copies_of_few_faces_are_no_more_evidence_than_the_few() -> None:
    p, truth = network(2000)
    few = verdict(p, p, truth, replace(INT8, independent=0.1))
    assert few.verdict == UNDECIDED
    alone = verdict(p[:200], p[:200], truth[:200])
    one, other = (each.check("accuracy_change") for each in (few, alone))
    assert (one.low, one.high) == pytest.approx((other.low, other.high))


def test_copies_need_as_many_faces_as_the_few_that_they_were_made_of() -> None:
    p, truth = network(52, withheld=0)
    copies = np.repeat(p, 20, 0)
    copied = verdict(copies, copies, list(np.repeat(truth, 20)), COPIES).check("answered_agreement")
    alone = verdict(p, p, truth).check("answered_agreement")
    assert copied.faces_needed == pytest.approx(765, abs=1)
    assert alone.faces_needed == pytest.approx(765, abs=1)


def test_the_ece_of_copies_is_judged_as_that_of_the_few() -> None:
    p, truth = network(20, seed=3, withheld=0)
    q = p**3 / (p**3).sum(1, keepdims=True)
    copies = [np.repeat(each, 20, 0) for each in (p, q)]
    copied = verdict(*copies, list(np.repeat(truth, 20)), COPIES).check("ece_change")
    alone = verdict(p, q, truth).check("ece_change")
    assert copied.value == pytest.approx(alone.value)
    assert (copied.low, copied.high) == pytest.approx((alone.low, alone.high), abs=0.02)
    assert copied.verdict == alone.verdict == UNDECIDED
    assert copied.faces_needed == pytest.approx(alone.faces_needed, rel=0.2)


def test_many_lost_answers_fail_on_few_faces() -> None:
    p, truth = network(280, withheld=0)
    judged = verdict(p, flipped(p, np.arange(20)), truth)
    assert judged.verdict == FAILED
    (sentence, *_) = complaints(p, flipped(p, np.arange(20)), truth)
    assert "92.86 % of the answered decisions are kept (" in sentence
    assert "99.50 % is needed" in sentence


def test_nobody_answered_leaves_it_open() -> None:
    p, truth = network(2000)
    judged = verdict(p, p, truth, replace(INT8, abstain_below=1.0))
    assert judged.verdict == UNDECIDED
    assert "no face of the gate is answered" in str(judged.warning)


# --- answered decisions --------------------------------------------------------------------------


def test_flips_between_withheld_answers_are_reported_and_not_judged() -> None:
    p, truth = network(6000)
    faces = withheld(p)[:300]
    q = p.copy()
    q[faces] = np.roll(q[faces], 1, axis=1)
    right = np.array([LABELS[i] for i in p.argmax(1)]) == np.array(truth)
    faces = faces[~right[faces]]  # neither answer was right, so accuracy hardly moves
    q = flipped(p, faces)
    truth = [
        LABELS[(LABELS.index(t) + 1) % 4] if i in set(faces) else t for i, t in enumerate(truth)
    ]
    judged = verdict(p, q, truth)
    assert judged.check("answered_agreement").value == 1
    assert judged.check("agreement").value < 0.98
    assert judged.check("agreement").verdict is None
    assert judged.verdict == PASSED
    assert (judged.flips.faces, judged.flips.answered) == (len(faces), 0)
    assert judged.flips.margin_max == pytest.approx(0.2, abs=1e-6)


def test_a_withheld_face_that_the_variant_answers_otherwise_is_judged() -> None:
    p, truth = network(2000)
    faces = withheld(p)[:100]
    q = p.copy()
    q[faces] = np.roll(np.float32([[0.9, 0.05, 0.03, 0.02]]), 1) * np.ones((100, 1), np.float32)
    judged = verdict(p, q, truth)
    assert judged.flips.answered > 50
    assert judged.check("answered_agreement").verdict == FAILED


def test_the_margins_of_flips_are_the_references() -> None:
    p = np.float32([[0.5, 0.3, 0.1, 0.1], [0.4, 0.35, 0.15, 0.1], [0.9, 0.1, 0, 0]])
    q = np.float32([[0.3, 0.5, 0.1, 0.1], [0.35, 0.4, 0.15, 0.1], [0.9, 0.1, 0, 0]])
    flips = verdict(p, q, ["anger", "fear", "anger"]).flips
    assert (flips.faces, flips.answered) == (2, 1)
    assert flips.margin_max == pytest.approx(0.2)
    assert flips.margin_p50 == pytest.approx(0.125)


# --- accuracy, calibration, classes --------------------------------------------------------------


def lossy(p: Floats, truth: list[str], points: float) -> Floats:
    """Answers that lose so much accuracy and gain none."""
    right = np.flatnonzero(np.array([LABELS[i] for i in p.argmax(1)]) == np.array(truth))
    return flipped(p, right[: round(points / 100 * len(p))])


@pytest.mark.parametrize(("points", "expected"), [(0.05, PASSED), (0.4, UNDECIDED), (2.0, FAILED)])
def test_accuracy_passes_with_its_whole_interval(points: float, expected: str) -> None:
    p, truth = network(4000)
    check = verdict(p, lossy(p, truth, points), truth).check("accuracy_change")
    assert check.value == pytest.approx(-points / 100)
    assert check.low < check.value < check.high
    assert check.verdict == expected


def test_probabilities_that_became_too_sure_fail_by_the_ece() -> None:
    p, truth = network(4000)
    q = p**3 / (p**3).sum(1, keepdims=True)
    judged = verdict(p, q, truth)
    assert judged.check("agreement").value == 1
    assert judged.check("ece_change").verdict == FAILED
    assert any("ECE changes by +" in sentence for sentence in complaints(p, q, truth))


def test_a_class_that_is_lost_fails_and_one_face_of_a_small_class_does_not() -> None:
    p, truth = network(4000)
    of_fear = np.flatnonzero((p.argmax(1) == 1) & (np.array(truth) == "fear"))
    judged = verdict(p, flipped(p, of_fear[: len(of_fear) // 10]), truth)
    assert judged.check("recall_change.fear").verdict == FAILED
    small = [t if t != "fear" or i in set(of_fear[:20]) else "anger" for i, t in enumerate(truth)]
    check = verdict(p, flipped(p, of_fear[:1]), small).check("recall_change.fear")
    assert check.value == pytest.approx(-0.05)
    assert check.verdict == PASSED


def test_a_small_class_that_is_lost_whole_fails() -> None:
    p, truth = network(3000)
    of_fear = np.flatnonzero((p.argmax(1) == 1) & (np.array(truth) == "fear"))[:8]
    small = [t if t != "fear" or i in set(of_fear) else "anger" for i, t in enumerate(truth)]
    check = verdict(p, flipped(p, of_fear), small).check("recall_change.fear")
    assert check.faces == 8
    assert check.verdict == FAILED


# --- what the bar is -----------------------------------------------------------------------------


def test_an_engine_of_a_quantised_network_is_judged_where_the_network_answers() -> None:
    p, truth = network(6000)
    engine = replace(INT8, quantised_reference=True)
    q = flipped(p, withheld(p)[:120])
    judged = verdict(p, q, truth, engine)
    assert (judged.verdict, judged.reference) == (PASSED, QUANTISED)
    assert verdict(p, q, truth).reference == FP32
    reported = judged.check("agreement")
    assert (reported.value, reported.limit, reported.verdict) == (0.98, None, None)
    sure = np.setdiff1d(np.arange(len(p)), withheld(p))[:60]
    other = verdict(p, flipped(p, sure), truth, engine)
    assert other.check("answered_agreement").verdict == FAILED


def test_an_allowed_drop_replaces_the_other_limits() -> None:
    p, truth = network(4000)
    q = lossy(p, truth, 2.0)
    assert complaints(p, q, truth)
    allowed = replace(INT8, allow_drop=0.03)
    judged = verdict(p, q, truth, allowed)
    assert judged.verdict == PASSED
    assert [check.name for check in judged.checks if check.limit is not None] == ["accuracy_change"]
    assert complaints(p, q, truth, replace(INT8, allow_drop=0.01))


def test_an_observed_figure_beyond_its_limit_is_a_reason_and_one_within_it_is_not() -> None:
    """So a variant that only lacks faces is written, and one that looks too bad is not."""
    p, truth = network(280, withheld=0)
    assert verdict(p, flipped(p, np.arange(1)), truth).verdict == UNDECIDED
    assert complaints(p, flipped(p, np.arange(1)), truth) == []
    doubtful = complaints(p, flipped(p, np.arange(3)), truth)
    assert verdict(p, flipped(p, np.arange(3)), truth).verdict == UNDECIDED
    assert any("faces would tell" in sentence for sentence in doubtful)


def test_fp32_is_judged_by_probabilities_and_its_checks_are_reported() -> None:
    p, truth = network(500)
    judged = verdict(p, p, truth, Bar("fp32", LABELS, THRESHOLD, allow_drop=0.5))
    assert judged.verdict == PASSED
    assert {check.limit for check in judged.checks} == {None}


def test_answers_that_are_not_numbers_fail() -> None:
    p, truth = network(500)
    q = p.copy()
    q[3, 1] = np.nan
    assert verdict(p, q, truth).verdict == FAILED
    assert ParityLimits().answered_agreement == 0.995


def test_a_judgement_is_read_as_it_was_written() -> None:
    p, truth = network(500)
    judged = verdict(p, flipped(p, np.arange(3)), truth)
    assert Judgement.parse(judged.as_dict(), "judgement") == judged
