"""Conversions for Qualcomm's HTP: own scales, context binaries, and the record of a simulator."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from fer_edge import Predictor, TargetError, open_bundle
from fer_edge.backends import qnn as engine
from fer_edge.backends.base import Options
from fer_edge.backends.qnn_chips import CHIPS, ContextFacts, read_context
from fer_edge.converters import qnn
from fer_edge.converters.base import ConversionInput, Int8Input
from fer_edge.converters.onnx_graph.export import export_onnx
from fer_edge.converters.onnx_graph.htp_form import quantised_form
from fer_edge.converters.onnx_graph.htp_graph import (
    normalisation,
    normalisation_scales,
    pool_with_explicit_padding,
)
from fer_edge.converters.pipeline.convert import convert
from fer_edge.converters.pipeline.face_samples import FaceSamples
from fer_edge.errors import ConversionError
from fer_edge.shipped import FACES
from fer_edge.training.checkpoint import Checkpoint, load_checkpoint
from fer_edge.training.models.network import InputSpec
from fer_edge.training.quantization.distil import Distillation
from fer_edge.training.quantization.quantize import quantize

FEW = 20


@pytest.fixture(scope="module", autouse=True)
def _library() -> None:
    pytest.importorskip("onnxruntime_qnn", reason="pip install 'fer-edge[qnn]'")


@pytest.fixture(scope="module")
def source(checkpoint: Path, graph: bytes, calibration: FaceSamples) -> ConversionInput:
    return ConversionInput(load_checkpoint(checkpoint), graph, calibration.images[:FEW])


@pytest.fixture(scope="module")
def own(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    """The tiny network with int8 ranges."""
    out = tmp_path_factory.mktemp("int8") / "c8"
    quantize(checkpoint, FACES, out, Distillation(epochs=0), say=lambda text: None)
    return load_checkpoint(out)


def scales(model: onnx.ModelProto) -> Counter[tuple[float, int]]:
    """Count the roundings to eight bits by scale and zero point."""
    stored = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    return Counter(
        (float(stored[node.input[1]]), int(stored[node.input[2]]))
        for node in model.graph.node
        if node.op_type == "QuantizeLinear" and stored[node.input[2]].dtype == np.uint8
    )


def test_own_scales_are_the_scales_of_the_file(own: Checkpoint, source: ConversionInput) -> None:
    network = own.quantised()
    int8 = Int8Input(network, export_onnx(network))
    artifact = qnn.build(replace(source, graph=b"", int8=int8), "int8", {})
    model = onnx.load_from_string(artifact.files[artifact.entry])
    assert own.int8 is not None
    theirs = {float(np.float32(scale)) for scale in own.int8.activations.values()}
    found = scales(model)
    assert theirs <= {scale for scale, _ in found}
    assert {zero for scale, zero in found if scale in theirs} == {0, 128}
    weights = [t.numpy() for t in own.int8.tensors.values() if t.dtype.itemsize == 1]
    stored = [numpy_helper.to_array(t) for t in model.graph.initializer]
    written = [t for t in stored if t.dtype == np.int8 and t.ndim > 1]
    for weight in weights:
        assert any(np.array_equal(weight, each) for each in written)


def test_every_chip_gets_a_binary_of_its_own_architecture(source: ConversionInput) -> None:
    artifact = qnn.build(replace(source, socs=tuple(CHIPS)), "int8", {})
    for name, chip in CHIPS.items():
        record = artifact.needs["contexts"][name]
        assert record == {"path": f"qnn-int8/{name}.bin", "htp": chip.htp, "soc": chip.soc}
        facts = read_context(artifact.files[record["path"]])
        assert (facts.soc, facts.htp) == (chip.soc, chip.htp)


def test_a_binary_for_another_architecture_is_refused(
    source: ConversionInput, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(qnn, "read_context", lambda binary: ContextFacts(39, 73))
    with pytest.raises(ConversionError, match=r"for sa8295 \(number 39, HTP v68\).*HTP v73"):
        qnn.build(replace(source, socs=("sa8295",)), "fp16", {})


@pytest.mark.parametrize(("name", "answer"), [("SA8155", "Hexagon DSP v66"), ("x1", "Known: sa")])
def test_a_chip_that_cannot_be_compiled_for_is_refused_first(
    source: ConversionInput, name: str, answer: str
) -> None:
    with pytest.raises(TargetError, match=answer):
        qnn.build(replace(source, graph=b"never read", socs=(name,)), "int8", {})


def test_the_record_names_the_simulator_and_the_same_file_on_onnxruntime(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    bundle = convert(
        checkpoint,
        ["qnn"],
        tmp_path / "x.fer",
        ["fp16"],
        allow_drop=0.5,
        judge_seconds=1,
        socs=["sa8295"],
        say=said.append,
    )
    (variant,) = open_bundle(bundle.path).variants
    report = variant.parity
    assert report is not None
    assert report.judged_by is not None
    assert report.file_parity is not None
    assert report.judged_by.judge == "simulator of the HTP v73 (SA8255)"
    assert report.faces.faces >= 100
    assert report.file_parity.judge == "onnxruntime"
    assert report.file_parity.faces == report.faces.faces
    assert report.file_parity.max_abs_dp < 0.02
    assert str(report.file_parity) in "".join(said)
    assert variant.speed is None
    with pytest.raises(TargetError, match="Ask for it by name: target 'qnn'"):
        Predictor(bundle.path)
    with Predictor(bundle.path, target="qnn") as predictor:
        assert predictor.predict_batch([np.zeros((40, 40, 3), np.uint8)])
        (choice,) = predictor.explain(executed=True)
    assert "on a simulator, not on a chip: its speed is not that of a chip" in str(choice)
    assert choice.execution is not None
    assert choice.refusal is None
    assert choice.execution.layers_in("fp16") == choice.execution.layers > 10


@pytest.mark.parametrize("colour", ["grey", "rgb"])
def test_the_convolution_normalises_as_the_network_does(colour: str) -> None:
    channels = 1 if colour == "grey" else 3
    spec = InputSpec(8, colour, (0.5, 0.4, 0.3)[:channels], (0.2, 0.25, 0.3)[:channels])  # type: ignore[arg-type]
    weight, bias = normalisation(spec)
    bgr = np.array([10.0, 120.0, 250.0])
    found = weight[:, :, 0, 0] @ bgr + bias
    colours = [bgr @ (0.114, 0.587, 0.299)] if colour == "grey" else bgr[::-1]
    wanted = (np.array(colours) / 255 - spec.mean) / spec.std
    assert np.abs(found - wanted).max() < (0.5 / 255 / 0.2 if colour == "grey" else 1e-5)
    white = weight[:, :, 0, 0] @ np.full(3, 255.0) + bias
    np.testing.assert_allclose(white, (1 - np.array(spec.mean)) / spec.std, rtol=1e-5)


@pytest.mark.parametrize("kind", ["AveragePool", "MaxPool"])
@pytest.mark.parametrize("side", [3, 4, 5, 7])
def test_explicit_padding_pools_as_ceil_mode_does(kind: str, side: int) -> None:
    node = helper.make_node(kind, ["x"], ["y"], kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1)
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in (("x", [1, 2, side, side]), ("y", None))
    ]
    before = helper.make_node("Identity", ["input"], ["x"])
    first = helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 2, side, side])
    graph = helper.make_graph([before, node], "g", [first], ends[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    x = np.random.default_rng(0).normal(size=(1, 2, side, side)).astype(np.float32)
    answers = [_run(model, x)]
    pool_with_explicit_padding(model)
    assert "ceil_mode" not in {a.name for a in model.graph.node[1].attribute}
    answers.append(_run(model, x))
    np.testing.assert_allclose(*answers, rtol=1e-6)


@pytest.mark.parametrize("mean", [0.5, 0.508, 0.4854, 0.2471, 0.4514])
@pytest.mark.parametrize("colour", ["grey", "rgb"])
def test_the_bias_of_eight_bits_is_nearly_whole(
    colour: Literal["grey", "rgb"], mean: float
) -> None:
    channels = 1 if colour == "grey" else 3
    spec = InputSpec(48, colour, (mean,) * channels, (0.5,) * channels)
    _, bias = normalisation(spec)
    steps = bias / normalisation_scales(spec)
    assert np.abs(steps - np.rint(steps)).max() < 0.15


def test_each_grey_level_goes_to_the_step_of_the_network() -> None:
    """With half a step in the bias, level 128 went where level 127 goes."""
    spec = InputSpec(48, "grey", (0.5,), (0.5,))
    weight, bias = normalisation(spec)
    scale = normalisation_scales(spec)[0]
    eight = np.rint(weight / scale).sum()
    level = np.arange(256)
    sums = (level * eight + np.rint(bias[0] / scale)) * scale
    np.testing.assert_array_equal(np.rint(sums * 128), np.rint((level - 127.5) / 127.5 * 128))


def _run(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    import onnxruntime

    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    answer: np.ndarray = session.run(None, {"input": x})[0]
    return answer


def test_relu6_keeps_its_upper_end_on_the_simulator(
    trained: Callable[[str], Path], tmp_path: Path
) -> None:
    """Joined with its convolution, it ended at 255 steps instead of 6."""
    out = tmp_path / "c8"
    quantize(trained("mobilenetv2_035"), FACES, out, Distillation(epochs=0), say=lambda text: None)
    network = load_checkpoint(out).quantised()
    noise = np.random.default_rng(0).integers(0, 2, (20, 48, 48, 3), np.uint8) * np.uint8(255)
    form = quantised_form(export_onnx(network), network.spec.input, noise, 8, own_scales=True)
    model = onnx.load_from_string(form)
    # A steeper first layer: more than 6 after most of its pixels.
    made_by = {name: node for node in model.graph.node for name in node.output}
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    least = next(node for node in model.graph.node if node.op_type == "Min")
    rounding = next(node for node in model.graph.node if least.output[0] in node.input)
    layer = made_by[least.input[0]]
    while layer.op_type != "Conv":
        layer = made_by[layer.input[0]]
    bias = stored[made_by[layer.input[2]].input[0]]
    steep = numpy_helper.to_array(bias) + np.int32(100_000)
    bias.CopyFrom(numpy_helper.from_array(steep, bias.name))
    del model.graph.output[:]
    model.graph.output.append(helper.make_empty_tensor_value_info(rounding.output[0]))
    found = _run_on_simulator(model, noise[:1])
    assert found.max() == numpy_helper.to_array(stored[f"{least.output[0]}_most_quantized"])


def _run_on_simulator(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    import onnxruntime
    import onnxruntime_qnn

    needed, nodes = {model.graph.output[0].name}, []
    for node in reversed(model.graph.node):
        if needed & set(node.output):
            nodes.append(node)
            needed |= set(node.input)
    del model.graph.node[:]
    model.graph.node.extend(reversed(nodes))
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    settings = onnxruntime.SessionOptions()
    settings.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    choices = {
        "backend_path": onnxruntime_qnn.get_qnn_htp_path(),
        "offload_graph_io_quantization": "0",
    }
    settings.add_provider_for_devices(engine._devices(), choices)
    session = onnxruntime.InferenceSession(model.SerializeToString(), settings)
    answer: np.ndarray = session.run(None, {"images": x})[0]
    return answer


def test_without_faces_a_float_network_is_refused(source: ConversionInput) -> None:
    with pytest.raises(ConversionError, match="--calibrate"):
        qnn.build(replace(source, calibration=source.calibration[:0]), "w8a16", {})


def test_a_session_of_another_chip_answers_the_same(source: ConversionInput) -> None:
    artifact = qnn.build(source, "w8a16", {})
    answers = []
    for name in ("sa8295", "sa8797"):
        session = engine.QnnSession(artifact.files[artifact.entry], Options(device=name))
        answers.append(session.run(source.calibration[:4])[0])
        session.close()
    np.testing.assert_allclose(*answers, atol=0.05)
