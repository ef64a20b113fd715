"""Drawing of faces and their expressions into a picture."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from fer_edge.monitor.layout import Type, plain
from fer_edge.monitor.overlay import COLOURS, PAPER, Colour, write
from fer_edge.preprocess import Box, Image
from fer_edge.results import Prediction

_UNSURE = (170, 170, 170)
"""Colour of a face without a certain expression, BGR."""
_OWN_LABEL = (225, 225, 225)
"""Colour of a user-defined label, BGR."""
_TAG_TO_BOX = 1.7
"""Largest width of a tag, in widths of its box, before its text shrinks."""
_LEAST_SHARE = 0.6
"""Smallest share (0..1) of the picture's text size to which a tag shrinks."""
_LEAST_SCALE = 0.4
"""Smallest scale for cv2.putText; below it, strokes merge."""


def draw_faces(image: Image, faces: Sequence[tuple[Box | None, Prediction]]) -> Image:
    """Draw a box and a tag for each face into a copy of a picture.

    A tag stands above its box, or where it hides no other face. An uncertain face is grey, with a
    question mark. A box of None frames the picture.

    Args:
        image: uint8 ``[H, W, 3]`` BGR.
        faces: Box in pixels, and expression, of each face.

    Returns:
        uint8 ``[H, W, 3]`` BGR.
    """
    canvas = np.ascontiguousarray(image).copy()
    height, width = canvas.shape[:2]
    base = Type.for_frame(width, height)
    boxes = [(0, 0, width, height) if box is None else _whole(box) for box, _ in faces]
    for box, (_, prediction) in zip(boxes, faces, strict=True):
        _draw_box(canvas, box, _colour(prediction), base.thickness + 1)
    tags: list[Box] = []
    for box, (_, prediction) in zip(boxes, faces, strict=True):
        text = plain(_text(prediction))
        type_ = _fitted(base, text, box[2])
        size = type_.width_px(text) + 2 * type_.pad_px, type_.line_px
        others = [*tags, *(other for other in boxes if other is not box)]
        tag = _place(box, size, others, width, height)
        tags.append(tag)
        _draw_tag(canvas, tag, text, _colour(prediction), type_)
    if not faces:
        text = "no face found"
        size = base.width_px(text) + 2 * base.pad_px, base.line_px
        _draw_tag(canvas, (0, 0, *size), text, _UNSURE, base)
    return canvas


def _text(prediction: Prediction) -> str:
    mark = "?" if prediction.uncertain else ""
    return f"{prediction.label}{mark} {prediction.confidence:.2f}"


def _colour(prediction: Prediction) -> Colour:
    return _UNSURE if prediction.uncertain else COLOURS.get(prediction.label, _OWN_LABEL)


def _fitted(base: Type, text: str, box_px: int) -> Type:
    """Return the text size at which a tag is not much wider than its box."""
    room = _TAG_TO_BOX * box_px / max(base.width_px(text) + 2 * base.pad_px, 1)
    scale = max(base.scale * min(max(room, _LEAST_SHARE), 1.0), _LEAST_SCALE)
    thickness = max(round(1.6 * scale), 1)
    return Type(scale, thickness, round(40 * scale), max(round(10 * scale), 3))


def _whole(box: Box) -> Box:
    """Return a box in whole pixels, as OpenCV draws it."""
    x, y, w, h = (round(float(value)) for value in box)
    return x, y, w, h


def _place(box: Box, size: tuple[int, int], others: Sequence[Box], width: int, height: int) -> Box:
    """Return the tag's place of least overlap: above, below, or inside its box."""
    x, y, w, h = box
    wide, high = size
    lefts = (x, x + w - wide, x + (w - wide) // 2)
    outside = [top for top in (y - high, y + h) if 0 <= top <= height - high]
    places = [
        (max(min(left, width - wide), 0), max(min(top, height - high), 0), wide, high)
        for top in (*outside, y, y + h - high)
        for left in lefts
    ]
    return min(places, key=lambda rect: sum(_overlap(rect, other) for other in others))


def _overlap(one: Box, other: Box) -> int:
    """Return the pixels that two boxes share."""
    wide = min(one[0] + one[2], other[0] + other[2]) - max(one[0], other[0])
    high = min(one[1] + one[3], other[1] + other[3]) - max(one[1], other[1])
    return max(wide, 0) * max(high, 0)


def _draw_box(canvas: Image, box: Box, colour: Colour, thick: int) -> None:
    x, y, w, h = box
    corner, opposite = (x, y), (x + w - 1, y + h - 1)
    cv2.rectangle(canvas, corner, opposite, PAPER, thick + 2)  # dark edge: contrast anywhere
    cv2.rectangle(canvas, corner, opposite, colour, thick)


def _draw_tag(canvas: Image, tag: Box, text: str, colour: Colour, type_: Type) -> None:
    x, y, w, h = tag
    cv2.rectangle(canvas, (x, y), (x + w - 1, y + h - 1), PAPER, cv2.FILLED)
    write(canvas, text, (x + type_.pad_px, y + round(0.68 * type_.line_px)), colour, type_)
