"""Example picture of the page, composed of the shipped composite faces."""

from __future__ import annotations

import cv2
import numpy as np

from fer_edge.preprocess import as_bgr, read_image
from fer_edge.shipped import FACES

_NAMES = ("happiness", "neutral", "anger")
_FACE_PX = 176
"""Side of a portrait; the shipped faces have 48 px."""
_EDGE_PX, _FRAME_PX = 52, 7
_WALL_BGR, _FRAME_BGR = (150, 138, 124), (244, 246, 248)


def example_picture(portraits: int = len(_NAMES)) -> bytes:
    """Return framed portraits on a plain wall, or one face crop, as a JPEG file.

    Args:
        portraits: Number of portraits. 0 is the crop alone, for a service without a detector.
    """
    faces = [as_bgr(read_image(FACES / f"{name}.png")) for name in _NAMES]
    large = [
        cv2.resize(face, (_FACE_PX, _FACE_PX), interpolation=cv2.INTER_CUBIC) for face in faces
    ]
    picture = large[0]
    if portraits:
        step = _FACE_PX + _EDGE_PX
        size = (_FACE_PX + 2 * _EDGE_PX, portraits * step + _EDGE_PX, 3)
        picture = np.full(size, _WALL_BGR, np.uint8)
        for index, face in enumerate(large[:portraits]):
            left, end = _EDGE_PX + index * step, _EDGE_PX + _FACE_PX
            frame = slice(left - _FRAME_PX, left + _FACE_PX + _FRAME_PX)
            picture[_EDGE_PX - _FRAME_PX : end + _FRAME_PX, frame] = _FRAME_BGR
            picture[_EDGE_PX:end, left : left + _FACE_PX] = face
    return cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 92])[1].tobytes()
