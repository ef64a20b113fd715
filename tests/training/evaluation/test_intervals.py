"""Intervals hold at their level, and at the ends where others collapse."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fer_edge.training.evaluation.intervals import (
    Z,
    ece_change_interval,
    faces_to_tell,
    mean_change,
    paired_change_interval,
    share_interval,
)

LABELS = ("anger", "fear", "happiness")


def test_a_share_has_wilsons_interval() -> None:
    """Newcombe (1998), table I: 81 of 263 and 15 of 148."""
    assert share_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert share_interval(15, 148) == pytest.approx((0.0624, 0.1605), abs=5e-5)


@pytest.mark.parametrize("faces", [1, 20, 336, 10**6])
def test_no_and_all_faces_leave_room_on_one_side(faces: int) -> None:
    low, high = share_interval(faces, faces)
    assert (low, high) == (pytest.approx(faces / (faces + Z * Z)), 1.0)
    assert share_interval(0, faces) == (0.0, pytest.approx(1 - low))


def test_a_paired_change_has_the_score_interval() -> None:
    """At each end, the score of the most likely pair of shares with that change is Z."""
    for gained, lost, faces in ((12, 2, 50), (3, 40, 3579), (0, 5, 48), (7, 7, 300)):
        for end in paired_change_interval(gained, lost, faces):
            shares = np.linspace(max(0, -end) + 1e-9, (1 - end) / 2 - 1e-9, 400_001)
            likely = gained * np.log(shares + end) + (faces - gained - lost) * np.log(
                1 - 2 * shares - end
            )
            likely += lost * np.log(shares) if lost else 0
            share = float(shares[likely.argmax()])
            variance = faces * (2 * share + end - end * end)
            score = (gained - lost - faces * end) / math.sqrt(variance)
            assert abs(score) == pytest.approx(Z, abs=2e-3)


def test_at_a_change_of_none_it_is_mcnemars_test() -> None:
    """(b - c) / sqrt(b + c) above Z, and the interval leaves 0 out."""
    assert paired_change_interval(20, 8, 1000)[0] > 0  # 2.27
    assert paired_change_interval(20, 9, 1000)[0] > 0  # 2.04
    assert paired_change_interval(20, 10, 1000)[0] < 0  # 1.83
    assert paired_change_interval(10, 20, 1000)[1] > 0


def test_no_changed_face_is_no_certainty() -> None:
    low, high = paired_change_interval(0, 0, 336)
    assert high == pytest.approx(Z * Z / (336 + Z * Z))
    assert low == -high


def test_an_ece_that_rises_and_one_that_does_not_are_told_apart() -> None:
    rng = np.random.default_rng(1)
    p = rng.dirichlet((1, 1, 1), 3000)
    truth = np.array([rng.choice(3, p=row) for row in p])
    sharper = p**2 / (p**2).sum(1, keepdims=True)
    low, high = ece_change_interval(p, sharper, truth)
    assert 0.05 < low < high < 0.3
    assert ece_change_interval(p, p, truth) == (0, 0)
    assert ece_change_interval(p, sharper, truth) == (low, high)


def test_a_change_of_the_nll_is_inside_as_often_as_the_level_says() -> None:
    """An overconfident model becomes a calibrated one, as adapting is to do."""
    rng = np.random.default_rng(3)
    logits = rng.normal(0, 1.5, (400_000, 7))
    after = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    before = after**2 / (after**2).sum(1, keepdims=True)
    truth = (rng.random(len(after))[:, None] > after.cumsum(1)).sum(1).clip(0, 6)
    each = np.arange(len(truth))
    changes = np.log(before[each, truth]) - np.log(after[each, truth])
    found = [mean_change(part) for part in changes.reshape(-1, 200)]
    inside = np.mean([f["interval"][0] <= changes.mean() <= f["interval"][1] for f in found])
    assert 0.93 < inside < 0.97


@pytest.mark.parametrize("true_share", [0.995, 0.9])
def test_the_share_is_inside_as_often_as_the_level_says(true_share: float) -> None:
    counts = np.random.default_rng(2).binomial(2000, true_share, 4000)
    ends = {int(count): share_interval(int(count), 2000) for count in set(counts.tolist())}
    inside = np.mean([ends[int(c)][0] <= true_share <= ends[int(c)][1] for c in counts])
    assert 0.93 < inside < 0.985


def test_the_faces_that_tell_are_the_fewest() -> None:
    def interval(factor: float) -> tuple[float, float]:
        return share_interval(266 * factor, 266 * factor)

    assert faces_to_tell(interval, 266, 0.995) == 765
    assert (
        faces_to_tell(lambda factor: share_interval(995 * factor, 1000 * factor), 1000, 0.995)
        is None
    )
