"""Engines are compiled here for GPUs that are not, from graphs that say their own precision."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from fer_edge import Predictor, open_bundle
from fer_edge.backends import tensorrt_compile as compiler
from fer_edge.backends import tensorrt_cuda as cuda
from fer_edge.backends.base import Outputs
from fer_edge.backends.tensorrt_cuda import Gpu
from fer_edge.converters import tensorrt as converter
from fer_edge.converters.base import Artifact, ConversionInput
from fer_edge.converters.pipeline import request
from fer_edge.converters.pipeline.convert import convert
from fer_edge.converters.pipeline.face_samples import FaceSamples
from fer_edge.converters.pipeline.parity import run_all
from fer_edge.errors import ConversionError, MissingDependencyError, TargetError
from fer_edge.training.checkpoint import load_checkpoint

AHEAD, LATER = ("sm_86", "sm_89", "sm_120"), ("sm_87", "sm_90")
FACES = 40
"""That calibrate int8; the tests are not about its accuracy."""


@pytest.fixture(scope="module", autouse=True)
def _library() -> None:
    if compiler.library() is None:
        pytest.skip("TensorRT is not installed. Run: pip install 'fer-edge[tensorrt]'")


@pytest.fixture(scope="module")
def source(
    checkpoint: Path, graph: bytes, calibration: FaceSamples
) -> Callable[..., ConversionInput]:
    def make(gpus: tuple[str, ...] = (), sizes: tuple[int, ...] = (1,)) -> ConversionInput:
        return ConversionInput(
            load_checkpoint(checkpoint), graph, calibration.images[:FACES], sizes, gpus, 512
        )

    return make


@pytest.fixture(scope="module", params=converter.PRECISIONS)
def built(
    request: pytest.FixtureRequest, source: Callable[..., ConversionInput]
) -> tuple[str, Artifact]:
    if compiler.known_gpus(compiler.library()) is None:
        pytest.skip("the full tensorrt compiles only for the GPU in this machine")
    return request.param, converter.build(source(AHEAD + LATER, (2, 1, 32)), request.param, {})


def test_there_is_an_engine_and_a_log_for_each_gpu_that_is_known_here(
    built: tuple[str, Artifact],
) -> None:
    precision, artifact = built
    assert set(artifact.needs["engines"]) == set(AHEAD)
    for gpu, engine in artifact.needs["engines"].items():
        assert engine == {
            "path": f"tensorrt-{precision}/{gpu.replace('_', '')}.engine",
            **compiler.system(),
        }
        assert len(artifact.files[engine["path"]]) > 10_000
        log = artifact.files[engine["path"].replace(".engine", ".log")].decode()
        assert log.startswith(f"tensorrt_rtx {artifact.needs['version']} for {gpu}, batch 1 to 32")
        assert "Engine generation completed" in log


def test_engines_for_different_gpus_differ(built: tuple[str, Artifact]) -> None:
    files = built[1].files
    assert len({files[e["path"]] for e in built[1].needs["engines"].values()}) == len(AHEAD)


def test_other_gpus_are_left_to_the_device_with_the_graph_and_its_profile(
    built: tuple[str, Artifact],
) -> None:
    _, artifact = built
    assert artifact.needs["build_on_device"] == list(LATER)
    assert artifact.needs["profile"] == {"min": 1, "opt": 2, "max": 32}
    assert artifact.needs["library"] == "tensorrt_rtx"
    onnx.checker.check_model(onnx.load_from_string(artifact.files[artifact.entry]), full_check=True)


def test_no_log_or_engine_tells_of_this_machine(built: tuple[str, Artifact]) -> None:
    root = Path(__file__).parents[2]
    traces = [b"/tmp/", *(str(folder).encode() for folder in (root, Path.home()))]
    for path, data in built[1].files.items():
        assert [trace for trace in traces if trace in data] == [], path


def test_the_typed_graph_agrees_with_torch_at_every_batch(
    built: tuple[str, Artifact], gate: FaceSamples, reference: Outputs
) -> None:
    precision, artifact = built
    assert artifact.reference_session is not None
    session = artifact.reference_session()
    outputs = run_all(session, gate.images)
    worst = float(np.abs(outputs[0] - reference[0]).max())
    assert worst <= {"fp32": 1e-5, "fp16": 0.02, "int8": 0.6}[precision]
    assert (outputs[0].argmax(1) == reference[0].argmax(1)).mean() >= 0.95
    for count in (1, 2, 5, 32):
        assert session.run(gate.images[:count])[0] == pytest.approx(outputs[0][:count], abs=0.02)


# --- what is asked for and cannot be had ---------------------------------------------------------


@pytest.mark.parametrize("gpu", ["sm_99", "rtx4090", "86", ""])
def test_an_unknown_gpu_is_named_with_those_there_are(
    source: Callable[..., ConversionInput], gpu: str
) -> None:
    with pytest.raises(TargetError, match=r"unknown GPU.*sm_87 \(Jetson Orin"):
        converter.build(source((gpu,)), "fp32", {})


def test_what_the_compiler_cannot_do_is_said_in_its_words(
    source: Callable[..., ConversionInput],
) -> None:
    with pytest.raises(ConversionError, match=r"sm_75.*FP32 GEMM is not supported"):
        converter.build(source(("sm_75",)), "fp32", {})


def test_without_the_library_the_pip_line_is_given(
    source: Callable[..., ConversionInput], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiler, "library", lambda: None)
    with pytest.raises(MissingDependencyError, match=re.escape("pip install 'fer-edge[tensorrt]'")):
        converter.build(source(), "fp32", {})


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(index: int = 0) -> Gpu:
        raise TargetError("there is none")

    monkeypatch.setattr(cuda, "gpu", none)


@pytest.mark.usefixtures("no_gpu")
def test_with_no_gpu_named_or_here_the_device_compiles(
    source: Callable[..., ConversionInput],
) -> None:
    artifact = converter.build(source(), "fp16", {})
    assert set(artifact.files) == {artifact.entry}
    assert artifact.needs["engines"] == {}


def test_with_no_gpu_named_the_one_here_is_compiled_for(
    source: Callable[..., ConversionInput], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cuda, "gpu", lambda index=0: Gpu(0, "NVIDIA L4", "sm_89", "12.8"))
    assert set(converter.build(source(), "fp32", {}).needs["engines"]) == {"sm_89"}


# --- in a bundle ---------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.usefixtures("no_gpu")
def test_a_bundle_says_what_judged_and_is_preferred_where_it_can_run(
    checkpoint: Path, tmp_path: Path, gate: FaceSamples
) -> None:
    said: list[str] = []
    convert(
        checkpoint,
        ["onnxruntime", "tensorrt"],
        tmp_path / "x.fer",
        ["fp32", "fp16"],
        gpus=("sm_86", "sm_87"),
        batch_sizes=(1, 32),
        say=said.append,
    )
    bundle = open_bundle(tmp_path / "x.fer")
    names = [variant.name for variant in bundle.variants]
    # 336 faces are too few for a verdict on fp16, so it comes after the proven ones.
    assert names == ["tensorrt/fp32", "onnxruntime/fp32", "tensorrt/fp16"]
    for variant in (bundle.variants[0], bundle.variants[2]):
        assert variant.parity is not None
        assert variant.parity.judged_by is not None
        assert variant.parity.judged_by.judge == "onnxruntime"
        assert "the chip itself has not run it yet" in str(variant.warning)
        assert variant.speed is None
    entries = {v.entry for v in bundle.variants if v.precision == "fp32"}
    assert len(entries) == 1  # the exported graph is in the bundle once
    with Predictor(bundle.path) as predictor:
        assert predictor.variant.name == "onnxruntime/fp32"
        assert predictor(gate.images[0]).label


@pytest.mark.slow
def test_all_leaves_out_what_is_not_installed(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiler, "library", lambda: None)
    monkeypatch.setattr(request, "known_targets", lambda: ("onnxruntime", "openvino", "tensorrt"))
    said: list[str] = []
    bundle = convert(checkpoint, ["all"], tmp_path / "x.fer", ["fp32"], say=said.append)
    assert {v.target for v in bundle.variants} >= {"onnxruntime", "openvino"}
    assert any("Left out: tensorrt/fp32" in s and "pip install" in s for s in said)
