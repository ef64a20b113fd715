"""Images, boxes and lists that are refused and harm nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from predictor_inputs import CALLS, labels

from fer_edge import analyze
from fer_edge.errors import InputError
from fer_edge.monitor import Boxes
from fer_edge.predictor import Predictor
from fer_edge.preprocess import Image

BAD: dict[str, object] = {
    "None": None,
    "float": np.zeros((48, 48, 3)),
    "NaN": np.full((48, 48, 3), np.nan, np.float32),
    "tiny": np.zeros((1, 1, 3), np.uint8),
    "BGRA": np.zeros((48, 48, 4), np.uint8),
    "missing file": "no such file.jpg",
    "missing path": Path("no such file.jpg"),
    "bytes": b"\xff\xd8\xff",
    "number": 7,
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_picture_in_a_batch_is_named_by_position_and_harms_nothing(
    predictor: Predictor, face: Image, kind: str
) -> None:
    with pytest.raises(InputError, match=r"^image 2: "):
        predictor.predict_batch([face, face, BAD[kind], face])  # type: ignore[list-item]
    assert labels(predictor.predict_batch([face, face])) == ["neutral"] * 2


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("kind", BAD)
def test_a_bad_picture_is_an_input_error_in_each_call_and_harms_nothing(
    predictor: Predictor, face: Image, kind: str, call: str
) -> None:
    with pytest.raises(InputError):
        CALLS[call](predictor, BAD[kind])
    assert predictor(face).label == "neutral"


@pytest.mark.parametrize("images", [None, 7, "face.jpg", Path("face.jpg"), b"abc"], ids=repr)
def test_what_is_no_list_of_pictures_is_refused_as_a_batch(
    predictor: Predictor, images: Any
) -> None:
    with pytest.raises(InputError, match="expected a list of images"):
        predictor.predict_batch(images)


def test_an_error_of_the_callers_generator_is_the_callers(
    predictor: Predictor, face: Image
) -> None:
    def values(value: Any) -> Iterator[Any]:
        yield value
        raise TypeError("mine")

    with pytest.raises(TypeError, match="mine"):
        predictor.predict_batch(values(face))
    with pytest.raises(TypeError, match="mine"):
        predictor.predict_faces(face, values((0, 0, 40, 40)))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "box", ["0099", b"\0\x0000", {0, 1, 48, 47}, dict.fromkeys((0, 1, 48, 47))], ids=repr
)
def test_four_items_of_another_kind_are_no_box(predictor: Predictor, face: Image, box: Any) -> None:
    for call in (
        lambda: predictor(face, box),
        lambda: predictor.predict_faces(face, [box]),
        lambda: analyze(face, predictor, boxes=[box]),
        lambda: Boxes(lambda _: [box]).detect(face),
    ):
        with pytest.raises(InputError, match="expected a box"):
            call()


def test_one_picture_is_not_taken_for_a_batch(predictor: Predictor, face: Image) -> None:
    for image in (face, face[:, :, 0]):
        with pytest.raises(InputError):
            predictor.predict_batch(image)


def test_a_box_outside_the_picture_is_refused(predictor: Predictor, face: Image) -> None:
    with pytest.raises(InputError, match="expected a box"):
        predictor(face, (500, 500, 20, 20))
    with pytest.raises(InputError, match="expected a box"):
        predictor.predict_faces(face, [(0, 0, 20, 20), (500, 500, 20, 20)])


def test_an_unknown_colour_is_refused_for_an_array_and_for_a_file(
    predictor: Predictor, face: Image, tmp_path: Path
) -> None:
    path, colour = tmp_path / "face.png", "infrared"
    cv2.imwrite(str(path), face)
    for image in (face, path):
        with pytest.raises(InputError, match="expected colour"):
            predictor(image, colour=colour)  # type: ignore[arg-type]
        with pytest.raises(InputError, match="expected colour"):
            predictor.predict_batch([image], colour=colour)  # type: ignore[arg-type]


def test_no_boxes_at_all_is_an_input_error(predictor: Predictor, face: Image) -> None:
    with pytest.raises(InputError, match="boxes"):
        predictor.predict_faces(face, None)  # type: ignore[arg-type]
