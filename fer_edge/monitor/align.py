"""Alignment: faces rotated so that the eyes are level."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from fer_edge.preprocess import Box, Image, crop

_LEAST_DEG = 3.0
"""Smallest roll in degrees that is corrected: landmarks jitter by as much."""


def roll_deg(landmarks: npt.NDArray[np.float32]) -> float:
    """Return the roll of the line through the eyes, in degrees.

    Args:
        landmarks: float32 ``[5, 2]`` in pixels, as in Face.

    Returns:
        Degrees; positive if the line falls towards the right of the picture.
    """
    x, y = (landmarks[1] - landmarks[0]).astype(np.float64)
    return float(np.degrees(np.arctan2(y, x)))


def crop_upright(
    image: Image, box: Box, landmarks: npt.NDArray[np.float32], margin: float
) -> tuple[Image, npt.NDArray[np.float32]]:
    """Crop a face, rotated so that the eyes are level.

    The crop is the square of ``preprocess.crop``, rotated about its centre.

    Args:
        image: uint8 ``[H, W, 3]`` BGR.
        box: ``(x, y, width, height)`` in pixels of ``image``.
        landmarks: float32 ``[5, 2]`` in pixels of ``image``, as in Face.
        margin: Margin around the box, as in CropRule.

    Returns:
        The crop, uint8 ``[S, S, 3]`` BGR, and the rotated landmarks, float32 ``[5, 2]`` in pixels
        of ``image``.

    Raises:
        InputError: ``crop`` refuses the box.
    """
    angle = roll_deg(landmarks)
    plain = crop(image, box, margin)
    if abs(angle) < _LEAST_DEG:
        return plain, landmarks
    x, y, w, h = box
    side = plain.shape[0]
    middle = (x + w / 2, y + h / 2)
    turn = cv2.getRotationMatrix2D(middle, angle, 1.0)
    turned = landmarks @ turn[:, :2].T + turn[:, 2]
    turn[:, 2] += side / 2 - np.array(middle)
    face = cv2.warpAffine(
        image, turn, (side, side), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return np.asarray(face, np.uint8), turned.astype(np.float32)
