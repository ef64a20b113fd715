"""Picture of the demo: the shipped composite faces, as framed portraits on a plain wall."""

from __future__ import annotations

import cv2
import numpy as np

from fer_edge.labels import EMOTIONS
from fer_edge.preprocess import Box, Image, as_bgr, read_image
from fer_edge.shipped import FACES

_WIDTH_PX, _HEIGHT_PX = 960, 560
_FACE_PX = 176
"""Side of a portrait; the shipped faces have 48 px."""
_FRAME_PX = 7
_CORNERS = (*((62 + 220 * i, 72) for i in range(4)), *((172 + 220 * i, 324) for i in range(3)))
"""Left and top of each portrait in pixels."""
_WALL_BGR, _FRAME_BGR, _SHADOW_BGR = (150, 138, 124), (244, 246, 248), (112, 103, 92)
_BOX_SHARE = 0.76
"""Side of a face's box as a share of its portrait's. A portrait shows more than the face."""


def demo_picture() -> tuple[Image, list[Box]]:
    """Return a picture with one face of each emotion, and where the faces are.

    Returns:
        uint8 ``[H, W, 3]`` BGR, and ``(x, y, width, height)`` of each face in pixels.
    """
    wall = np.full((_HEIGHT_PX, _WIDTH_PX, 3), _WALL_BGR, np.uint8)
    side = round(_BOX_SHARE * _FACE_PX)
    inset = (_FACE_PX - side) // 2
    boxes: list[Box] = []
    for name, (x, y) in zip(EMOTIONS, _CORNERS, strict=True):
        face = as_bgr(read_image(FACES / f"{name}.png"))
        _fill(wall, x - _FRAME_PX + 4, y - _FRAME_PX + 5, _SHADOW_BGR)
        _fill(wall, x - _FRAME_PX, y - _FRAME_PX, _FRAME_BGR)
        portrait = cv2.resize(face, (_FACE_PX, _FACE_PX), interpolation=cv2.INTER_CUBIC)
        wall[y : y + _FACE_PX, x : x + _FACE_PX] = portrait
        boxes.append((x + inset, y + inset, side, side))
    return wall, boxes


def _fill(wall: Image, x: int, y: int, bgr: tuple[int, int, int]) -> None:
    side = _FACE_PX + 2 * _FRAME_PX
    wall[y : y + side, x : x + side] = bgr
