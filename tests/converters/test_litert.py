"""The converter of LiteRT with a checkpoint's own int8 scales, and its stand-in for fp16."""

from __future__ import annotations

import json
import shutil
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from fer_edge.backends.base import Options, backend
from fer_edge.bundle import Variant, listed
from fer_edge.converters import litert
from fer_edge.converters.base import ConversionInput, Int8Input, converter
from fer_edge.converters.litert_conversion.environment import Converted
from fer_edge.converters.litert_conversion.forced_half import ForcedHalfSession
from fer_edge.converters.litert_conversion.program import _add_in_place_of_joining
from fer_edge.converters.pipeline.face_samples import FaceSamples, calibration_faces
from fer_edge.converters.pipeline.matrix_networks import SMALL, fitted
from fer_edge.converters.pipeline.parity import run_all
from fer_edge.errors import MissingDependencyError
from fer_edge.labels import EMOTIONS
from fer_edge.preprocess import CropRule, to_batch
from fer_edge.shipped import FACES
from fer_edge.training.checkpoint import CARD, load_checkpoint, save_checkpoint
from fer_edge.training.data.faces import load_faces
from fer_edge.training.deploy import DeployModule
from fer_edge.training.quantization.distil import Distillation
from fer_edge.training.quantization.quantize import quantize

FIXTURES = Path(__file__).parents[1] / "backends" / "litert"


@pytest.mark.parametrize("network", ["the tiny network", "vit_mae, small"])
def test_own_scales_are_written_without_calibration(
    network: str,
    checkpoint: Path,
    gate: FaceSamples,
    tmp_path: Path,
) -> None:
    """No faces are given, so that nothing else than the own scales can be in the file.

    A vision transformer joins a token and the patches, which have scales of their own.
    """
    converter("litert").check_ready()  # type: ignore[attr-defined]
    path = checkpoint
    if network in SMALL:
        path, rule = tmp_path / "vit", CropRule(SMALL[network].input.size_px)
        save_checkpoint(
            fitted(SMALL[network], calibration_faces(None, EMOTIONS, rule, gate, 0)), path
        )
    quantize(path, FACES, tmp_path / "c8", Distillation(epochs=0), say=lambda text: None)
    source = load_checkpoint(tmp_path / "c8")
    own = source.quantised()
    size_px = source.spec.input.size_px
    images = to_batch([face.read() for face in load_faces(FACES, "val")][::4], CropRule(size_px))
    work = ConversionInput(source, b"", images[:0], int8=Int8Input(own, b""))
    assert converter("litert").recipes(work, "int8") == ()
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a conversion prints none
        artifact = converter("litert").build(work, "int8", {})
    files = tuple(listed(path, data) for path, data in artifact.files.items())
    variant = Variant("litert", "int8", artifact.entry, files, needs=artifact.needs)
    session = backend("litert").load(variant, artifact.files, Options())
    answers = run_all(session, images)[0]
    session.close()
    expected = DeployModule(own).run(images)[0]
    ranked = np.sort(expected, axis=1)
    clear = ranked[:, -1] - ranked[:, -2] > 0.1
    assert clear.mean() > 0.5
    np.testing.assert_array_equal(answers.argmax(1)[clear], expected.argmax(1)[clear])
    assert np.abs(answers - expected).mean() < 0.02


def test_another_mean_takes_no_file_of_the_network_before(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Path(shutil.copytree(checkpoint, tmp_path / "other"))
    card = json.loads((other / CARD).read_text("utf-8"))
    card["model"]["input"]["mean"] = [0.2]
    (other / CARD).write_text(json.dumps(card), "utf-8")
    given: list[list[str]] = []

    def convert(folder: Path, job: object, files: dict[str, bytes]) -> Converted:
        given.append(list(files))
        return Converted(b"model", b"plain", {"tools": {"litert-torch": "1"}, "resizable": True})

    monkeypatch.setattr(litert, "check_ready", lambda: None)
    monkeypatch.setattr(litert, "program", lambda network: b"program")
    monkeypatch.setattr(litert, "convert", convert)
    monkeypatch.setattr(litert, "_plain", {})
    faces = np.zeros((0, 48, 48, 3), np.uint8)
    for folder, precision in ((checkpoint, "fp32"), (checkpoint, "fp16"), (other, "fp32")):
        litert.build(ConversionInput(load_checkpoint(folder), b"", faces), precision, {})
    assert given == [["program.pt2"], ["plain.tflite"], ["program.pt2"]]


@pytest.mark.parametrize("dim", [0, 1, -1])
def test_a_joining_becomes_a_sum_with_the_same_numbers(dim: int) -> None:
    class Joins(torch.nn.Module):
        def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            return torch.cat([x, y, x + y], dim) * 2

    inputs = torch.randn(3, 4, 4), torch.randn(3, 4, 4)
    graph = torch.export.export(Joins(), inputs).module()
    (join,) = [n for n in graph.graph.nodes if n.target is torch.ops.aten.cat.default]
    _add_in_place_of_joining(graph.graph, join)
    graph.graph.lint()
    graph.recompile()
    assert not [n for n in graph.graph.nodes if "cat" in str(n.target)]
    assert torch.equal(graph(*inputs), Joins()(*inputs))


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
