"""A clip to watch."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven frames of noise."""
    path = tmp_path_factory.mktemp("clip") / "clip.avi"
    rng = np.random.default_rng(0)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 30, (64, 64))
    for _ in range(7):
        writer.write(rng.integers(0, 256, (64, 64, 3), np.uint8))
    writer.release()
    return path
