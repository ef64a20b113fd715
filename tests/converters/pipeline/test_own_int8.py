"""Faces for calibration are asked for where they are used."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import pytest

from fer_edge.converters.pipeline.face_samples import FaceSamples
from fer_edge.converters.pipeline.own_int8 import needs_faces
from fer_edge.errors import DataError
from fer_edge.release_matrix.models import load_models
from fer_edge.shipped import MODELS
from fer_edge.training.checkpoint import load_checkpoint


@pytest.fixture
def flat(tmp_path: Path, gate: FaceSamples) -> Path:
    """Faces without parts: each of them judges."""
    for number, (image, label) in enumerate(zip(gate.images[:120], gate.truth, strict=False)):
        (tmp_path / "flat" / label).mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(tmp_path / "flat" / label / f"{number}.png"), image)
    return tmp_path / "flat"


@pytest.mark.parametrize(
    ("target", "precision", "quantised", "in_float"),
    [
        ("onnxruntime", "fp32", False, False),
        ("onnxruntime", "int8", False, True),
        ("litert", "int8", False, True),
        ("qnn", "int8", True, True),  # the HTP computes nothing in float
        ("qnn", "w8a16", True, True),
        ("coreml", "w8a8", True, True),
        ("coreml", "int8", False, False),
    ],
)
def test_int8_weights_of_a_checkpoint_need_no_calibration(
    target: str, precision: str, quantised: bool, in_float: bool
) -> None:
    source = load_checkpoint("fast")
    assert needs_faces(source, [(target, precision)]) == quantised
    assert needs_faces(replace(source, int8=None), [(target, precision)]) == in_float


def test_a_release_needs_faces_for_calibration_only_where_they_are_used(flat: Path) -> None:
    pairs = [("onnxruntime", "fp32"), ("onnxruntime", "int8")]
    for model in load_models(MODELS, pairs, flat, None, "0.1.0"):
        assert len(model.calibration.images) == 0
        assert len(model.gate.images) == 120
    with pytest.raises(DataError, match="fer-edge data split"):
        load_models(["fast"], [("qnn", "int8")], flat, None, "0.1.0")
