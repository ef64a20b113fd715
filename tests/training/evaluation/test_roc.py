"""Curves and areas against their definition: how often a face of the class scores higher."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pytest

from fer_edge.training.evaluation.roc import roc

ABC = ("anger", "fear", "neutral")


def answers(seed: int, faces: int = 300) -> tuple[np.ndarray, list[str]]:
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 3, faces)
    logits = rng.normal(size=(faces, 3)).round(1)  # ties
    logits[np.arange(faces), truth] += 1
    exp = np.exp(logits)
    return exp / exp.sum(1, keepdims=True), [ABC[i] for i in truth]


@pytest.mark.parametrize("seed", range(3))
def test_area_is_the_share_of_pairs_in_the_right_order(seed: int) -> None:
    p, truth = answers(seed)
    found = roc(p, truth, ABC)
    areas = []
    for i, name in enumerate(ABC):
        own = np.array(truth) == name
        inside, outside = p[own, i][:, None], p[~own, i][None]
        areas.append(((inside > outside) + 0.5 * (inside == outside)).mean())
        assert found["per_class"][name]["auc"] == pytest.approx(areas[-1], abs=1e-6)
    assert found["macro_auc"] == pytest.approx(np.mean(areas), abs=1e-6)


def test_a_curve_goes_from_corner_to_corner_and_only_up() -> None:
    p, truth = answers(1, 3000)
    for row in roc(p, truth, ABC)["per_class"].values():
        points = np.array(row["points"])
        assert points[0].tolist() == [0, 0]
        assert points[-1].tolist() == [1, 1]
        assert (np.diff(points, axis=0) >= 0).all()
        assert len(points) <= 102
        # np.trapezoid, which numpy 1.26 lacks
        area = np.sum(np.diff(points[:, 0]) * (points[1:, 1] + points[:-1, 1]) / 2)
        assert area == pytest.approx(row["auc"], abs=0.01)


def test_a_class_without_faces_says_so_and_weighs_nothing() -> None:
    p, truth = answers(2)
    kept = [i for i, name in enumerate(truth) if name != "fear"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = roc(p[kept], [truth[i] for i in kept], ABC)
    fear = found["per_class"]["fear"]
    assert (fear["auc"], fear["points"]) == (None, [])
    assert fear["reason"] == "no face is of this class in the data"
    others = [found["per_class"][n]["auc"] for n in ("anger", "neutral")]
    assert found["macro_auc"] == pytest.approx(np.mean(others))
    json.dumps(found, allow_nan=False)


def test_faces_of_one_class_alone_have_no_curve_at_all() -> None:
    found = roc(np.full((4, 3), 1 / 3), ["anger"] * 4, ABC)
    assert found["macro_auc"] is None
    assert found["per_class"]["anger"]["reason"] == "all faces are of this class in the data"
