"""Abstention, and outputs of an engine that are not probabilities."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from predictor_inputs import CALLS, FLAT, answers, bundle_of

from fer_edge.backends.fake import write_fake_bundle
from fer_edge.errors import EngineError, InputError
from fer_edge.inference import FLAT_BELOW
from fer_edge.predictor import Predictor
from fer_edge.preprocess import Image
from fer_edge.results import Prediction


@pytest.fixture(scope="module")
def sure(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    return Predictor(write_fake_bundle(tmp_path_factory.mktemp("sure") / "sure.fer"))


channel = st.integers(0, 255)


side = st.integers(8, 120)


def test_below_the_threshold_the_answer_is_uncertain_with_its_reason(
    tmp_path: Path, face: Image
) -> None:
    path = write_fake_bundle(tmp_path / "unsure.fer", {"anger": 0.45}, abstain_below=0.5)
    found = Predictor(path)(face)
    assert (found.label, found.uncertain) == ("anger", True)
    assert found.reason is not None
    assert "0.45" in found.reason
    assert "0.50" in found.reason


def test_above_the_threshold_it_is_not(tmp_path: Path, face: Image) -> None:
    path = write_fake_bundle(tmp_path / "sure.fer", {"anger": 0.55}, abstain_below=0.5)
    found = Predictor(path)(face)
    assert (found.uncertain, found.reason) == (False, None)


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("kind", FLAT)
def test_a_picture_without_contrast_never_gets_a_confident_answer(
    predictor: Predictor, tmp_path: Path, kind: str, call: str
) -> None:
    path = tmp_path / "flat.png"
    cv2.imwrite(str(path), FLAT[kind])
    for source in (FLAT[kind], path):
        found = CALLS[call](predictor, source)
        flat = found if isinstance(found, Prediction) else found[0]  # type: ignore[index]
        assert flat.uncertain
        assert "no contrast" in str(flat.reason)


@given(st.tuples(channel, channel, channel), side, side)
def test_no_plain_colour_gets_a_confident_answer(
    sure: Predictor, colour: tuple[int, int, int], height: int, width: int
) -> None:
    assert sure(np.full((height, width, 3), colour, np.uint8)).uncertain


def test_only_the_flat_faces_of_a_batch_are_uncertain(predictor: Predictor, face: Image) -> None:
    found = predictor.predict_batch([face, FLAT["black"], face, FLAT["white"]])
    assert [prediction.uncertain for prediction in found] == [False, True, False, True]
    (flat, full) = predictor.predict_faces(
        np.concatenate([FLAT["black"], face]), [(0, 0, 60, 60), (0, 60, 60, 60)]
    )
    assert (flat.uncertain, full.uncertain) == (True, False)


def test_contrast_in_one_colour_alone_is_enough(predictor: Predictor, face: Image) -> None:
    blue = face.copy()
    blue[:, :, 1:] = 0
    assert not predictor(blue).uncertain


def test_contrast_just_above_the_limit_is_enough(predictor: Predictor) -> None:
    half = int(FLAT_BELOW) + 1
    image = np.full((48, 48), 100, np.uint8)
    image[:, 24:] += 2 * half
    assert not predictor(image).uncertain
    image[:, 24:] = 100 + int(FLAT_BELOW)
    assert predictor(image).uncertain


def test_too_few_pixels_never_get_a_confident_answer(
    predictor: Predictor, face: Image, tmp_path: Path
) -> None:
    """The same rule for a file and for a box as for an array: refused, or uncertain."""
    path = tmp_path / "tiny.png"
    cv2.imwrite(str(path), np.array([[0, 255], [255, 0]], np.uint8))
    box = (10, 10, 2, 2)
    calls: dict[str, Callable[[], Prediction]] = {
        "file": lambda: predictor(path),
        "batch": lambda: predictor.predict_batch([path])[0],
        "box": lambda: predictor(face, box),
        "faces": lambda: predictor.predict_faces(face, [box])[0],
    }
    confident = []
    for name, call in calls.items():
        with suppress(InputError):
            confident += [] if call().uncertain else [name]
    assert confident == []


def test_a_failing_engine_is_an_engine_error_in_each_call(tmp_path: Path, face: Image) -> None:
    predictor = Predictor(write_fake_bundle(tmp_path / "failing.fer", fail_after=2))
    assert predictor(face).label == "neutral"
    assert len(predictor.predict_batch([face] * 3)) == 3
    for call in CALLS.values():
        with pytest.raises(EngineError):
            call(predictor, face)


@pytest.mark.parametrize("value", [math.nan, math.inf, -1.0, 2.0])
def test_probabilities_that_are_none_are_an_engine_error(
    tmp_path: Path, face: Image, value: float
) -> None:
    path = bundle_of(tmp_path / "sick.fer", {"fake/fp32": answers([value] * 7)}, 4)
    with pytest.raises(EngineError):
        Predictor(path)(face)


@pytest.mark.parametrize("width", [1, 6, 8])
def test_probabilities_of_another_width_are_an_engine_error(
    tmp_path: Path, face: Image, width: int
) -> None:
    path = bundle_of(tmp_path / "wide.fer", {"fake/fp32": answers([1 / width] * width)}, 4)
    with pytest.raises(EngineError):
        Predictor(path)(face)
