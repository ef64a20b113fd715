"""Small pictures in each format, made by OpenCV."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest

from fer_edge.preprocess import Image

Encode = Callable[..., bytes]


@pytest.fixture(scope="session")
def picture() -> Image:
    """uint8 BGR [90, 120, 3] with detail everywhere, so that no block of it is flat."""
    noise = np.random.default_rng(3).integers(0, 256, (15, 20, 3), np.uint8)
    return np.asarray(cv2.resize(noise, (120, 90), interpolation=cv2.INTER_CUBIC), np.uint8)


@pytest.fixture(scope="session")
def encode(picture: Image) -> Encode:
    def encoded(suffix: str, *settings: int, image: Image = picture) -> bytes:
        return bytes(cv2.imencode(suffix, image, settings)[1])

    return encoded
