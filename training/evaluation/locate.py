"""Faces located in pictures that show more than a face."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from fer_edge.analysis import detect_faces, fills_picture
from fer_edge.errors import TargetError
from fer_edge.monitor.detector import Detector
from fer_edge.monitor.detector_default import GET_ONE, default_detector
from fer_edge.preprocess import Box, Image
from fer_edge.progress import Step
from fer_edge.training.data.faces import LabelledFace


def require_detector(file: Path | None) -> Detector:
    """Return the detector from a file, or the default one.

    Raises:
        InputError: The file is missing, damaged or not YuNet.
        TargetError: No detector is available.
    """
    detector = default_detector(file)
    if detector is None:
        raise TargetError(f"expected a face detector, and none is available. {GET_ONE}")
    return detector


def locate(
    faces: Sequence[LabelledFace], detector: Detector, margin: float, step: Step
) -> list[LabelledFace | None]:
    """Locate the face of each picture, cropped as ``Predictor`` crops a box.

    Args:
        faces: Pictures, complete or cut out at a box.
        detector: Face detector.
        margin: Margin on each side of a box, as a share of its longer side.
        step: Receives progress.

    Returns:
        Each picture with its box; None for a picture without a face. A picture that already is a
        crop stays complete.
    """
    located: list[LabelledFace | None] = []
    for i, face in enumerate(faces):
        image = face.read()
        box = _main_box(image, detector)
        if box is None:
            located.append(None)
        elif fills_picture(image, box, margin):
            located.append(face)
        else:
            x, y, w, h = box
            left, top = _corner(face)
            located.append(replace(face, box=_widened((x + left, y + top, w, h), margin)))
        if i % 50 == 0 or i + 1 == len(faces):
            step("finding faces", i + 1, len(faces))
    return located


def _main_box(image: Image, detector: Detector) -> Box | None:
    """Return the box that covers the picture's centre, else the largest one."""
    height, width = image.shape[:2]
    boxes = [face.box for face in detect_faces(image, detector)]
    central = [
        (x, y, w, h) for x, y, w, h in boxes if x <= width / 2 < x + w and y <= height / 2 < y + h
    ]
    return max(central or boxes, key=lambda box: box[2] * box[3], default=None)


def _corner(face: LabelledFace) -> tuple[int, int]:
    """Return left and top of what a face shows, in pixels of the complete picture."""
    return (0, 0) if face.box is None else _widened(face.box, 0)[:2]


def _widened(box: Box, margin: float) -> Box:
    """Return the square that ``preprocess.crop`` cuts for a box and its margin."""
    x, y, w, h = box
    side = max(w, h) * (1 + 2 * margin)
    return (round(x + w / 2 - side / 2), round(y + h / 2 - side / 2), round(side), round(side))
