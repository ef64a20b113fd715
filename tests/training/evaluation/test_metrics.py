"""Metrics against hand-computed ones and plain NumPy."""

from __future__ import annotations

import json

import numpy as np
import numpy.typing as npt
import pytest

from fer_edge.training.evaluation.metrics import ECE_BINS, ece, metrics

ABC = ("anger", "fear", "neutral")
Floats = npt.NDArray[np.float64]


def called(*names: str, confidence: float = 0.8) -> Floats:
    """Probabilities that call each face by the name given, all equally confident."""
    rest = (1 - confidence) / (len(ABC) - 1)
    return np.array([[confidence if n == name else rest for n in ABC] for name in names])


def random_answers(seed: int, faces: int = 400, classes: int = 7) -> tuple[Floats, list[int]]:
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, classes, faces)
    logits = rng.normal(size=(faces, classes))
    logits[np.arange(faces), truth] += 1.5
    exp = np.exp(logits)
    return exp / exp.sum(1, keepdims=True), truth.tolist()


def test_counts_by_hand() -> None:
    truth = ["anger"] * 4 + ["fear"] * 2 + ["neutral"] * 2
    p = called("anger", "anger", "anger", "fear", "fear", "neutral", "neutral", "anger")
    m = metrics(p, truth, ABC)
    assert m["faces"] == 8
    assert m["confusion"] == [[3, 1, 0], [0, 1, 1], [1, 0, 1]]
    assert m["accuracy"] == pytest.approx(5 / 8)
    assert m["balanced_accuracy"] == pytest.approx((3 / 4 + 1 / 2 + 1 / 2) / 3)
    assert m["per_class"]["anger"] == pytest.approx(
        {"recall": 3 / 4, "precision": 3 / 4, "f1": 3 / 4, "support": 4}
    )
    assert m["per_class"]["fear"]["precision"] == pytest.approx(1 / 2)
    assert m["macro_f1"] == pytest.approx((3 / 4 + 1 / 2 + 1 / 2) / 3)
    assert m["macro_precision"] == pytest.approx((3 / 4 + 1 / 2 + 1 / 2) / 3)
    assert m["weighted_precision"] == pytest.approx((4 * 3 / 4 + 2 * 1 / 2 + 2 * 1 / 2) / 8)
    assert m["weighted_f1"] == pytest.approx((4 * 3 / 4 + 2 * 1 / 2 + 2 * 1 / 2) / 8)
    assert m["nll"] == pytest.approx(-(5 * np.log(0.8) + 3 * np.log(0.1)) / 8)
    assert m["ece"] == pytest.approx(0.8 - 5 / 8)


@pytest.mark.parametrize("seed", range(3))
def test_figures_agree_with_plain_numpy(seed: int) -> None:
    p, t = random_answers(seed)
    names = [f"{c}" for c in "abcdefg"]
    m = metrics(p, [names[i] for i in t], names)
    truth, answer, confidence = np.array(t), p.argmax(1), p.max(1)
    confusion = np.zeros((7, 7), int)
    np.add.at(confusion, (truth, answer), 1)
    recall = confusion.diagonal() / confusion.sum(1)
    precision = confusion.diagonal() / confusion.sum(0)
    assert m["confusion"] == confusion.tolist()
    assert m["accuracy"] == pytest.approx((truth == answer).mean())
    assert m["balanced_accuracy"] == pytest.approx(recall.mean())
    assert m["macro_f1"] == pytest.approx((2 * recall * precision / (recall + precision)).mean())
    ece = 0.0
    for i in range(ECE_BINS):
        inside = (confidence > i / ECE_BINS) & (confidence <= (i + 1) / ECE_BINS)
        if inside.any():
            gap = abs((truth == answer)[inside].mean() - confidence[inside].mean())
            ece += inside.mean() * gap
    assert m["ece"] == pytest.approx(ece, abs=1e-6)


def test_ece_of_known_bins() -> None:
    """Ten answers at 0.55, five right; ten at 0.95, all right: |0.55-0.5| and |0.95-1|."""
    p = np.vstack([called(*["anger"] * 10, confidence=c) for c in (0.55, 0.95)])
    truth = ["anger"] * 5 + ["fear"] * 5 + ["anger"] * 10
    assert metrics(p, truth, ABC)["ece"] == pytest.approx(0.05, abs=1e-6)


@pytest.mark.parametrize("border", [0.6, 0.8, 1.0])
def test_every_figure_of_calibration_has_the_same_bins(border: float) -> None:
    """Faces on the border of two bins are in the lower one, beside those just below it."""
    p = np.vstack([called("anger", confidence=c) for c in (border, border - 0.02, border)])
    truth = ["anger", "fear", "anger"]
    m = metrics(p, truth, ABC)
    rows = [row for row in m["reliability"] if row["faces"]]
    assert [row["faces"] for row in rows] == [3]
    gap = sum(row["faces"] * abs(row["accuracy"] - row["confidence"]) for row in rows) / 3
    assert m["ece"] == pytest.approx(gap)
    assert m["ece"] == ece(p, np.array([True, False, True]))


def test_calibration_survives_float_rounding_above_one() -> None:
    """Engines give 1.0000001 now and then; that is a probability, and no logit."""
    p = called("anger", "anger", "fear", "fear", confidence=1.0).astype(np.float32)
    truth = ["anger", "anger", "fear", "anger"]
    plain = metrics(p, truth, ABC)["ece"]
    assert plain == pytest.approx(0.25)
    p[0, 0] = np.nextafter(np.float32(1), np.float32(2))
    assert metrics(p, truth, ABC)["ece"] == pytest.approx(plain, abs=1e-5)


@pytest.mark.parametrize("answer", ABC)
def test_classes_without_faces_do_not_weigh(answer: str) -> None:
    truth = ["anger"] * 3 + ["fear"]
    m = metrics(called("anger", "anger", "anger", answer), truth, ABC)
    right = answer == "fear"
    assert m["balanced_accuracy"] == pytest.approx((1 + right) / 2)
    assert m["per_class"]["neutral"]["support"] == 0
    assert m["macro_f1"] == pytest.approx(
        (1 + 1) / 2 if right else (6 / 7 if answer == "anger" else 1) / 2
    )
    json.dumps(m, allow_nan=False)


def test_columns_are_in_the_order_of_the_labels() -> None:
    p = called("anger", "fear", "fear")
    turned = metrics(p[:, ::-1], ["anger", "fear", "fear"], ABC[::-1])
    assert turned["accuracy"] == 1
    assert turned["per_class"] == metrics(p, ["anger", "fear", "fear"], ABC)["per_class"]


def test_the_coverage_curve_withholds_the_least_confident_first() -> None:
    confidences = np.linspace(0.95, 0.5, 10)
    p = np.vstack([called("anger", confidence=c) for c in confidences])
    truth = ["anger"] * 6 + ["fear"] * 4  # the six most confident are right
    curve = metrics(p, truth, ABC)["coverage"]
    assert [row["coverage"] for row in curve] == pytest.approx(np.arange(1, 11) / 10)
    assert [row["accuracy"] for row in curve] == pytest.approx([1] * 6 + [6 / 7, 6 / 8, 6 / 9, 0.6])
    assert [row["threshold"] for row in curve] == pytest.approx(confidences)


def test_the_order_of_equally_confident_answers_does_not_count() -> None:
    p = np.vstack([called("anger", confidence=c) for c in [0.9] * 2 + [0.7] * 8])
    truth = ["anger", "fear", *["anger"] * 4, *["fear"] * 4]
    curve = metrics(p, truth, ABC)["coverage"]
    assert [row["accuracy"] for row in curve] == pytest.approx([0.5] * 10)
    turned = metrics(p[::-1], truth[::-1], ABC)["coverage"]
    assert [row["accuracy"] for row in turned] == pytest.approx([0.5] * 10)


def test_reliability_counts_every_face_in_one_bin() -> None:
    p, t = random_answers(5)
    rows = metrics(p, ["abcdefg"[i] for i in t], "abcdefg")["reliability"]
    assert len(rows) == ECE_BINS
    assert sum(row["faces"] for row in rows) == len(t)
    right = sum(row["faces"] * row["accuracy"] for row in rows)
    assert right == pytest.approx((p.argmax(1) == np.array(t)).sum())
    for i, row in enumerate(rows):
        assert i / ECE_BINS <= row["confidence"] <= (i + 1) / ECE_BINS


def test_one_face_is_enough() -> None:
    json.dumps(metrics(called("fear"), ["fear"], ABC), allow_nan=False)
