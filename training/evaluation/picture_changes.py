"""Changes of a face picture that studies of robustness share: light, blur, size."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from fer_edge.preprocess import Image


def as_picture(values: npt.NDArray[Any]) -> Image:
    """Round and clip values to uint8."""
    return np.asarray(np.clip(np.rint(values), 0, 255), np.uint8)


def lit(face: Image, gain: float) -> Image:
    """Multiply every value of a picture."""
    return as_picture(gain * face.astype(np.float64))


def blurred(face: Image, sigma_px: float) -> Image:
    """Blur a picture with a Gaussian of this standard deviation."""
    return as_picture(cv2.GaussianBlur(face, (0, 0), sigma_px))


def shrunk(face: Image, side_px: int) -> Image:
    """Shrink a picture to a square by area means."""
    return as_picture(cv2.resize(face, (side_px, side_px), interpolation=cv2.INTER_AREA))
