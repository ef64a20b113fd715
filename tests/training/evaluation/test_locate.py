"""Faces are located in complete pictures, and in pictures cut out at a box."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from fer_edge.monitor.detector import Face
from fer_edge.preprocess import Box, Image
from fer_edge.training.data.faces import LabelledFace
from fer_edge.training.evaluation.locate import locate

GREY, WHITE = 90, 255


class White:
    """Detector of a white square."""

    def detect(self, image: Image) -> list[Face]:
        x, y, w, h = cv2.boundingRect((image[..., 0] == WHITE).astype(np.uint8))
        return [Face((x, y, w, h), 0.9)] if w else []


def picture(left: int, top: int) -> bytes:
    """Picture of 900 x 700 px with a white square of 40 px."""
    pixels = np.full((700, 900), GREY, np.uint8)
    pixels[top : top + 40, left : left + 40] = WHITE
    return cv2.imencode(".png", pixels)[1].tobytes()


@pytest.mark.parametrize(
    "box",
    [
        None,
        (400, 200, 440, 440),
        (400, 200, 441, 380),  # the square around it begins between two pixels
        (480, 150, 420, 500),  # the square around it leaves the picture
        (560, -30, 340, 600),
    ],
)
@pytest.mark.parametrize("margin", [0.0, 0.25])
def test_a_face_is_found_where_the_picture_shows_it(box: Box | None, margin: float) -> None:
    face = LabelledFace(picture(620, 300), "fear", "a", box=box)
    (located,) = locate([face], White(), margin, lambda *_: None)
    assert located is not None
    side = 40 + 2 * round(40 * margin)
    assert located.box == (620 - (side - 40) // 2, 300 - (side - 40) // 2, side, side)
    assert (located.read() == WHITE).sum() == 40 * 40 * 3


def test_a_box_without_a_face_is_left_out_and_a_crop_stays() -> None:
    faces = [
        LabelledFace(picture(620, 300), "fear", "a", box=(10, 10, 400, 400)),
        LabelledFace(picture(620, 300), "fear", "b", box=(621, 301, 38, 38)),
    ]
    assert locate(faces, White(), 0.1, lambda *_: None) == [None, faces[1]]
