"""A tiny network for release matrices: its classifier is fitted, nothing is trained."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))  # importlib mode does not add this folder

from fer_edge.converters.pipeline.face_samples import calibration_faces, parity_faces
from fer_edge.converters.pipeline.matrix_networks import SMALL, fitted
from fer_edge.labels import EMOTIONS
from fer_edge.preprocess import CROP_MARGIN, CropRule
from fer_edge.training.checkpoint import save_checkpoint

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint folder, ``tiny``."""
    rule = CropRule(48, CROP_MARGIN)
    gate = parity_faces(None, EMOTIONS, rule, 140)
    faces = calibration_faces(None, EMOTIONS, rule, gate, 2026)
    folder = tmp_path_factory.mktemp("models") / "tiny"
    save_checkpoint(fitted(SMALL["cnn48"], faces), folder)
    return folder
