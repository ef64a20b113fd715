"""Faces turned upright by their eyes."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from fer_edge.preprocess import Box, Image, crop

_LEAST_DEG = 3.0
"""Below this the landmarks' own jitter is as large."""


def roll_deg(landmarks: npt.NDArray[np.float32]) -> float:
    """The angle of the line through the eyes; positive leans to the picture's lower right."""
    x, y = (landmarks[1] - landmarks[0]).astype(np.float64)
    return float(np.degrees(np.arctan2(y, x)))


def crop_upright(
    image: Image, box: Box, landmarks: npt.NDArray[np.float32], margin: float
) -> tuple[Image, npt.NDArray[np.float32]]:
    """The same square as ``crop`` cuts, turned about its middle so that the eyes are level.

    Gives uint8 ``[S, S, 3]`` and the landmarks, float32 ``[5, 2]``, in pixels of ``image`` turned
    likewise. Raises InputError for the same boxes as ``crop``.
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
