"""Answers to one face, and what a Prediction holds."""

from __future__ import annotations

import copy
import json
from dataclasses import FrozenInstanceError
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from predictor_inputs import CALLS, FLAT, SEEN, TINTED, labels

from fer_edge.backends.fake import write_fake_bundle
from fer_edge.bundle import open_bundle
from fer_edge.labels import EMOTIONS
from fer_edge.predictor import Predictor
from fer_edge.preprocess import Image
from fer_edge.results import Prediction


def test_an_answer_has_canonical_labels_and_probabilities_by_name(
    predictor: Predictor, face: Image
) -> None:
    found = predictor(face)
    assert predictor.labels == EMOTIONS
    assert (found.label, found.uncertain, found.reason) == ("neutral", False, None)
    assert tuple(found.probabilities) == EMOTIONS
    assert found.confidence == found.probabilities["neutral"] == pytest.approx(0.9)
    assert sum(found.probabilities.values()) == pytest.approx(1)
    assert found.embedding.shape == (open_bundle(predictor.bundle.path).embedding_dim,)
    assert found.embedding.dtype == np.float32


@pytest.mark.parametrize("name", EMOTIONS)
def test_the_label_is_the_name_with_the_highest_probability(
    tmp_path: Path, face: Image, name: str
) -> None:
    found = Predictor(write_fake_bundle(tmp_path / "name.fer", {name: 0.4}))(face)
    assert found.label == name
    assert found.probabilities == pytest.approx({e: 0.4 if e == name else 0.1 for e in EMOTIONS})


@pytest.mark.parametrize("channel", [0, 1, 2])
def test_the_colour_order_is_the_one_that_was_stated(seeing: Predictor, channel: int) -> None:
    image, swapped = TINTED[channel], np.ascontiguousarray(TINTED[channel][:, :, ::-1])
    assert seeing(image).label == SEEN[channel]
    assert seeing(swapped, colour="rgb").label == SEEN[channel]
    assert seeing(swapped).label == SEEN[2 - channel]
    np.testing.assert_array_equal(
        seeing(image).embedding, seeing.predict_batch([swapped], colour="rgb")[0].embedding
    )


@pytest.mark.parametrize("call", CALLS)
def test_an_array_and_its_lossless_file_give_the_same_answer(
    seeing: Predictor, tmp_path: Path, call: str
) -> None:
    path = tmp_path / "face.png"
    cv2.imwrite(str(path), TINTED[0])
    found = [CALLS[call](seeing, source) for source in (TINTED[0], path, str(path))]
    flat = [f if isinstance(f, Prediction) else f[0] for f in found]  # type: ignore[index]
    assert labels(flat) == ["fear"] * 3
    for other in flat[1:]:
        np.testing.assert_array_equal(other.embedding, flat[0].embedding)


@pytest.mark.parametrize("shape", [(60, 80), (60, 80, 1)])
def test_grey_pictures_are_taken(predictor: Predictor, face: Image, shape: Any) -> None:
    grey = face[:, :, 0].reshape(shape)
    assert predictor(grey).label == predictor(grey, colour="grey").label == "neutral"


@pytest.mark.parametrize("call", CALLS)
def test_the_picture_is_not_changed(predictor: Predictor, face: Image, call: str) -> None:
    mine = face.copy()
    CALLS[call](predictor, mine)
    np.testing.assert_array_equal(mine, face)


def test_a_prediction_cannot_be_changed(predictor: Predictor, face: Image) -> None:
    found = predictor(face)
    for name in ("label", "confidence", "uncertain", "times"):
        with pytest.raises(FrozenInstanceError):
            setattr(found, name, None)
    with pytest.raises((AttributeError, TypeError)):
        found.mood = "good"  # type: ignore[attr-defined]


def test_predictions_can_be_copied_and_compared(seeing: Predictor) -> None:
    one, other = seeing(TINTED[0]), seeing(TINTED[1])
    again = copy.deepcopy(one)
    np.testing.assert_array_equal(again.embedding, one.embedding)
    assert again == one
    assert one != other


def test_as_dict_is_plain_json(predictor: Predictor, face: Image) -> None:
    found = predictor.predict_batch([face, FLAT["black"]])
    for prediction in found:
        content = json.loads(json.dumps(prediction.as_dict(), allow_nan=False))
        assert content == prediction.as_dict()
        assert content["label"] == prediction.label
        assert content["probabilities"] == prediction.probabilities
        assert content["reason"] == prediction.reason
        assert set(content["times_ms"]) == {"preprocess", "infer", "postprocess"}
        assert all(value >= 0 for value in content["times_ms"].values())
