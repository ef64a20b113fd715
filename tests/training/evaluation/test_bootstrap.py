"""Intervals against the plain bootstrap, and against what is known of a share."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fer_edge.training.evaluation.bootstrap import difference, intervals, mean_interval
from fer_edge.training.evaluation.metrics import metrics

AB = ("anger", "fear")


def confusion(truth: list[str], answers: list[str]) -> list[list[int]]:
    pairs = list(zip(truth, answers, strict=True))
    return [[pairs.count((t, a)) for a in AB] for t in AB]


def test_the_interval_of_an_accuracy_is_that_of_a_share() -> None:
    """Normal approximation: 0.8 ± 1.96 sqrt(0.16 / 1000)."""
    low, high = intervals([[400, 100], [100, 400]], AB)["accuracy"]
    assert (low, high) == pytest.approx((0.7752, 0.8248), abs=0.002)


def test_cells_drawn_at_once_are_faces_drawn_one_by_one() -> None:
    rng = np.random.default_rng(5)
    truth = np.array([0] * 60 + [1] * 20)
    answer = np.where(rng.random(80) < 0.7, truth, 1 - truth)
    scores = []
    for _ in range(2000):
        drawn = rng.integers(0, 80, 80)
        p = np.eye(2)[answer[drawn]] * 0.6 + 0.2
        scores.append(metrics(p, [AB[i] for i in truth[drawn]], AB)["macro_f1"])
    found = intervals(confusion([AB[i] for i in truth], [AB[i] for i in answer]), AB)
    assert found["macro_f1"] == pytest.approx(np.percentile(scores, [2.5, 97.5]), abs=0.02)


@given(st.lists(st.lists(st.integers(0, 30), min_size=3, max_size=3), min_size=3, max_size=3))
def test_every_figure_lies_in_its_interval_and_json_has_no_nan(cells: list[list[int]]) -> None:
    if not sum(map(sum, cells)):
        return
    labels = ("anger", "fear", "neutral")
    truth = [labels[i] for i in range(3) for j in range(3) for _ in range(cells[i][j])]
    answers = [j for i in range(3) for j in range(3) for _ in range(cells[i][j])]
    m = metrics(np.eye(3)[answers] * 0.7 + 0.1, truth, labels)
    found = intervals(m["confusion"], labels)
    json.dumps(found, allow_nan=False)
    low, high = found["accuracy"]
    assert low - 1e-9 <= m["accuracy"] <= high + 1e-9
    for name in labels:
        recall = found["per_class"][name]["recall"]
        if not m["per_class"][name]["support"]:
            assert recall is None
        else:
            assert 0 <= recall[0] <= recall[1] <= 1


def test_what_both_find_hard_does_not_widen_a_difference() -> None:
    truth = ["anger"] * 500 + ["fear"] * 500
    first = ["anger"] * 700 + ["fear"] * 300
    better = first[:500] + ["fear"] * 20 + first[520:]
    found = difference(truth, first, better)["accuracy"]
    assert found["change"] == pytest.approx(0.02)
    low, high = found["interval"]
    assert 0.01 < low < 0.02 < high < 0.03
    alone = intervals(confusion(truth, better), AB)["accuracy"]
    assert alone[1] - alone[0] > 2 * (high - low)


def test_no_difference_is_none_at_all() -> None:
    same = ["anger", "fear", "anger"]
    found = difference(["anger", "fear", "fear"], same, same)
    assert found["macro_f1"] == {"change": 0.0, "interval": [0.0, 0.0]}


def test_labels_that_only_one_of_two_knows_are_counted() -> None:
    found = difference(["anger", "fear"] * 50, ["anger", "fear"] * 50, ["contempt", "fear"] * 50)
    assert found["accuracy"]["change"] == -0.5


def test_the_same_seed_gives_the_same_interval() -> None:
    values = np.random.default_rng(0).normal(2, 1, 400)
    assert mean_interval(values) == mean_interval(values)
    assert mean_interval(values) == pytest.approx([2 - 0.098, 2 + 0.098], abs=0.06)
