"""Conversions of a checkpoint with int8 weights: every target runs the checkpoint's own numbers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from fer_edge import open_bundle
from fer_edge.backends.base import Options, Outputs, backend
from fer_edge.bundle import Variant, listed
from fer_edge.converters.base import ConversionInput, Int8Input, converter, targets
from fer_edge.converters.onnx_graph.export import export_onnx
from fer_edge.converters.onnx_graph.htp_form import quantised_form
from fer_edge.converters.onnx_graph.uint8_form import uint8_form
from fer_edge.converters.pipeline import prepare as module
from fer_edge.converters.pipeline.convert import convert
from fer_edge.converters.pipeline.face_samples import FaceSamples
from fer_edge.converters.pipeline.parity import run_all
from fer_edge.errors import MissingDependencyError
from fer_edge.shipped import FACES
from fer_edge.telemetry import import_without_telemetry
from fer_edge.training.checkpoint import Checkpoint, load_checkpoint
from fer_edge.training.deploy import DeployModule
from fer_edge.training.quantization.distil import Distillation
from fer_edge.training.quantization.quantize import quantize
from fer_edge.verdict import QUANTISED


def _is_ready(target: str) -> bool:
    try:
        getattr(converter(target), "check_ready", lambda: None)()
    except MissingDependencyError:  # LiteRT's converter is an environment of its own
        return False
    return True


# TensorRT runs on no machine here; its stand-in runs the same graph as ONNX Runtime.
TARGETS = tuple(
    target for target in targets() if "int8" in converter(target).PRECISIONS and _is_ready(target)
)
EXACT = ("litert", "onnxruntime", "openvino", "tensorrt")
"""Targets that multiply sums of integers in float32. Core ML rounds the sums to fp16 first, and the
HTP has arithmetic of its own."""
NETWORKS = {
    "test_byobnet": ("coreml", "onnxruntime", "openvino", "tensorrt"),
    "mobilenetv2_035": ("litert", "onnxruntime", "openvino", "qnn", "tensorrt"),
}
"""Targets that are held to each network. test_byobnet averages pixels inside its body: LiteRT
rounds an average halfway between two steps away from zero, and torch to the even step."""


@pytest.fixture(scope="module", params=NETWORKS)
def folder(
    request: pytest.FixtureRequest,
    trained: Callable[[str], Path],
    checkpoint: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """A tiny network with int8 ranges."""
    source = checkpoint if request.param == "test_byobnet" else trained(request.param)
    out = tmp_path_factory.mktemp("int8") / "c8"
    quantize(source, FACES, out, Distillation(epochs=0), say=lambda text: None)
    return out


@pytest.fixture(scope="module")
def held(own: Checkpoint) -> tuple[str, ...]:
    """Targets of the network that are there."""
    return tuple(t for t in NETWORKS[own.spec.backbone] if t in TARGETS)


@pytest.fixture(scope="module")
def reference(folder: Path, gate: FaceSamples) -> Outputs:
    """Outputs of the float network for the gate's faces."""
    return DeployModule(load_checkpoint(folder)).run(gate.images)


@pytest.fixture(scope="module")
def own(folder: Path) -> Checkpoint:
    return load_checkpoint(folder).quantised()


@pytest.fixture(scope="module")
def graph(own: Checkpoint) -> bytes:
    return export_onnx(own)


@pytest.fixture(scope="module")
def answers(
    folder: Path,
    own: Checkpoint,
    graph: bytes,
    held: tuple[str, ...],
    gate: FaceSamples,
    calibration: FaceSamples,
) -> dict[str, Outputs]:
    """Outputs of torch and of every target for the gate's faces."""
    int8 = Int8Input(own, graph)
    found = {"torch": DeployModule(own).run(gate.images)}
    for target in held:
        # An HTP computes nothing in float, and calibration finds the scales that are not the own.
        faces = calibration.images[: 70 if target == "qnn" else 0]
        source = ConversionInput(load_checkpoint(folder), b"", faces, int8=int8)
        assert converter(target).recipes(source, "int8") == ()
        artifact = converter(target).build(source, "int8", {})
        if artifact.reference_session is not None:
            session = artifact.reference_session()
        else:
            files = tuple(listed(path, data) for path, data in artifact.files.items())
            variant = Variant(target, "int8", artifact.entry, files)
            session = backend(target).load(variant, artifact.files, Options())
        try:
            found[target] = run_all(session, gate.images)
        finally:
            session.close()
    return found


def test_engines_compute_the_same_numbers(
    answers: dict[str, Outputs], held: tuple[str, ...]
) -> None:
    """Exact scales leave nothing to round but the last layer and the softmax.

    OpenVINO drops the rounding between a layer and an addition, so that a tie can go the other
    way: it may differ on a few faces.
    """
    probabilities, embeddings = answers["torch"]
    for target in sorted(set(EXACT) & set(held)):
        same = (answers[target][1] == embeddings).all(1)
        assert same.mean() >= (0.99 if target == "openvino" else 1), target
        # Sums of the last layer have an order of their own on each CPU.
        np.testing.assert_allclose(
            answers[target][0][same], probabilities[same], atol=5e-6, err_msg=target
        )


def test_every_engine_runs_the_int8_network(
    answers: dict[str, Outputs],
    held: tuple[str, ...],
    reference: Outputs,
) -> None:
    """An engine with other scales would be as far away as the float network is."""
    assert set(answers) == {"torch", *held}
    own = answers["torch"][0]
    away = np.abs(reference[0] - own).mean()
    ranked = np.sort(own, axis=1)
    clear = ranked[:, -1] - ranked[:, -2] > 0.1
    assert clear.mean() > 0.5
    for target in held:
        found = answers[target][0]
        assert np.abs(found - own).mean() < 0.75 * away, target
        same = found.argmax(1) == own.argmax(1)
        if target == "coreml":
            # Core ML rounds sums to fp16 first. It keeps the bars for two engines: 99 % of all
            # decisions and 99.5 % of the clear ones.
            assert same.mean() >= 0.99
            assert same[clear].mean() >= 0.995
        else:
            assert same[clear].all(), target


@pytest.mark.parametrize("folder", ["mobilenetv2_035"], indirect=True)
def test_qualcomm_s_form_computes_the_same_numbers_on_onnxruntime(
    own: Checkpoint, graph: bytes, gate: FaceSamples, answers: dict[str, Outputs]
) -> None:
    # The embedding's range is that of these faces: of fewer, it would cut a few values off.
    form = quantised_form(graph, own.spec.input, gate.images, 8, own_scales=True)
    variant = Variant("onnxruntime", "int8", "form.onnx", (listed("form.onnx", form),))
    session = backend("onnxruntime").load(variant, {"form.onnx": form}, Options())
    try:
        found = run_all(session, gate.images)
    finally:
        session.close()
    np.testing.assert_allclose(found[1], answers["torch"][1], rtol=0, atol=1e-4)
    # Embedding and logits have 16 bits.
    np.testing.assert_allclose(found[0], answers["torch"][0], rtol=0, atol=1e-3)


def test_every_target_is_held_to_a_network() -> None:
    assert {target for held in NETWORKS.values() for target in held} >= set(TARGETS)


def test_the_graph_holds_the_scales_and_weights_of_the_checkpoint(
    folder: Path, graph: bytes
) -> None:
    int8 = load_checkpoint(folder).int8
    assert int8 is not None
    model = onnx.load_from_string(graph)
    stored = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    scales = {
        float(stored[node.input[1]])
        for node in model.graph.node
        if node.op_type == "QuantizeLinear"
    }
    assert scales == {float(np.float32(scale)) for scale in int8.activations.values()}
    weights = [t.numpy() for t in int8.tensors.values() if t.dtype.itemsize == 1]
    written = [t for t in stored.values() if t.dtype == np.int8 and t.ndim > 1]
    assert len(written) == len(weights) > 3
    for weight in weights:
        assert any(np.array_equal(weight, each) for each in written)


@pytest.mark.parametrize("folder", ["test_byobnet"], indirect=True)
def test_a_conversion_runs_no_float_network(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[bool] = []

    class Watched(DeployModule):
        def __init__(self, network: Checkpoint) -> None:
            super().__init__(network)
            ran.append(module.is_quantised(network))

    monkeypatch.setattr(module, "DeployModule", Watched)
    said: list[str] = []
    few: dict[str, Any] = {"allow_drop": 0.1}  # 336 faces are too few for the usual limits
    bundle = convert(
        folder, ["onnxruntime", "openvino"], tmp_path / "x.fer", ["int8"], say=said.append, **few
    )
    assert ran == [True]
    assert {v.name for v in bundle.variants} == {"onnxruntime/int8", "openvino/int8"}
    for variant in open_bundle(bundle.path).variants:
        assert variant.parity is not None
        assert variant.parity.calibration is None
        assert variant.parity.judgement is not None
        assert variant.parity.judgement.reference == QUANTISED
    again = convert(
        folder, ["onnxruntime"], tmp_path / "y.fer", ["fp32", "int8"], say=said.append, **few
    )
    assert ran == [True, False, True]
    assert {v.precision for v in again.variants} == {"fp32", "int8"}


@pytest.mark.parametrize("function", ["Relu", "Clip"])
def test_onnxruntime_rounds_layers_directly_with_the_same_answers(function: str) -> None:
    """Each convolution becomes an integer one; the numbers are those of the plain graph."""
    rng = np.random.default_rng(0)
    stored = {
        "s": np.float32(0.05),
        "z": np.int8(0),
        "s2": np.float32(0.04),
        "six": np.float32(6),
        "none": np.float32(0),
        "w": rng.integers(-127, 128, (8, 3, 3, 3), np.int8),
        "ws": np.full(8, 0.01, np.float32),
        "wz": np.zeros(8, np.int8),
    }
    more = ["none", "six"] if function == "Clip" else []
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"]),
        helper.make_node("DequantizeLinear", ["w", "ws", "wz"], ["wd"], axis=0),
        helper.make_node("Conv", ["d", "wd"], ["c"]),
        helper.make_node(function, ["c", *more], ["r"]),
        helper.make_node("QuantizeLinear", ["r", "s2", "z"], ["q2"]),
        helper.make_node("DequantizeLinear", ["q2", "s2", "z"], ["y"]),
    ]
    initial = [numpy_helper.from_array(np.asarray(value), name) for name, value in stored.items()]
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [2, channels, side, side])
        for name, channels, side in (("x", 3, 9), ("y", 8, 7))
    ]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], initial)
    plain = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    data = plain.SerializeToString()
    x = rng.normal(0, 3, (2, 3, 9, 9)).astype(np.float32)
    found = [_run(form, x) for form in (data, uint8_form(data))]
    steps = np.abs(found[0] - found[1]) / 0.04
    assert steps.max() <= 1.001  # a sum that lies between two steps may go to either
    assert (steps > 0.5).mean() < 0.01
    kinds = [node.op_type for node in onnx.load_from_string(uint8_form(data)).graph.node]
    assert kinds.index("QuantizeLinear", 2) == kinds.index("Conv") + 1
    assert "Relu" not in kinds


def _run(graph: bytes, x: Any) -> Any:
    ort = import_without_telemetry("onnxruntime")
    session = ort.InferenceSession(graph, providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})[0]
