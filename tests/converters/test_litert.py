"""The converter of LiteRT with a checkpoint's own int8 scales, and its stand-in for fp16."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

from fer_edge.backends.base import Options, backend
from fer_edge.bundle import Variant, listed
from fer_edge.converters.base import ConversionInput, Int8Input, converter
from fer_edge.converters.litert_conversion.forced_half import ForcedHalfSession
from fer_edge.converters.pipeline.build_variant import torch_outputs
from fer_edge.converters.pipeline.face_samples import FaceSamples
from fer_edge.converters.pipeline.parity import run_all
from fer_edge.errors import MissingDependencyError
from fer_edge.shipped import FACES
from fer_edge.training.checkpoint import load_checkpoint
from fer_edge.training.quantization.distil import Distillation
from fer_edge.training.quantization.quantize import quantize

FIXTURES = Path(__file__).parents[1] / "backends" / "litert"


def test_own_scales_are_written_without_calibration(
    checkpoint: Path, gate: FaceSamples, tmp_path: Path
) -> None:
    """No faces are given, so that nothing else than the own scales can be in the file."""
    converter("litert").check_ready()  # type: ignore[attr-defined]
    quantize(checkpoint, FACES, tmp_path / "c8", Distillation(epochs=0), say=lambda text: None)
    source = load_checkpoint(tmp_path / "c8")
    own = source.quantised()
    work = ConversionInput(source, b"", gate.images[:0], int8=Int8Input(own, b""))
    assert converter("litert").recipes(work, "int8") == ()
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a conversion prints none
        artifact = converter("litert").build(work, "int8", {})
    files = tuple(listed(path, data) for path, data in artifact.files.items())
    variant = Variant("litert", "int8", artifact.entry, files, needs=artifact.needs)
    session = backend("litert").load(variant, artifact.files, Options())
    answers = run_all(session, gate.images)[0]
    session.close()
    expected = torch_outputs(own, gate.images)[0]
    ranked = np.sort(expected, axis=1)
    clear = ranked[:, -1] - ranked[:, -2] > 0.1
    assert clear.mean() > 0.5
    np.testing.assert_array_equal(answers.argmax(1)[clear], expected.argmax(1)[clear])
    assert np.abs(answers - expected).mean() < 0.02


def test_the_stand_in_names_the_library_that_it_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A release matrix goes on with its other cells after it."""
    monkeypatch.setitem(sys.modules, "ai_edge_litert.compiled_model", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'fer-edge\[litert\]'"):
        ForcedHalfSession(b"")


def test_forced_fp16_differs_from_fp32_arithmetic_on_the_same_file(
    capfd: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("ai_edge_litert", reason="pip install fer-edge[litert]")
    data = (FIXTURES / "fp16.tflite").read_bytes()
    faces = np.random.default_rng(0).integers(0, 256, (5, 48, 48, 3), np.uint8)
    variant = Variant("litert", "fp32", "litert-fp16/model.tflite", ())
    single = backend("litert").load(variant, {variant.entry: data}, Options(threads=1))
    capfd.readouterr()
    half = ForcedHalfSession(data)
    outputs = half.run(faces)
    half.close()
    assert capfd.readouterr().err == ""
    for ours, theirs in zip(outputs, single.run(faces), strict=True):
        difference = np.abs(ours - theirs).max()
        assert ours.shape == theirs.shape
        assert 1e-6 < difference < 0.05
