"""Graphs with own scales lose their roundings and keep their outputs."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from fer_edge.converters.onnx_graph.export import export_onnx
from fer_edge.converters.onnx_graph.htp_form import _take_scales, quantised_form
from fer_edge.telemetry import import_without_telemetry
from fer_edge.training.checkpoint import Checkpoint
from fer_edge.training.deploy import DeployModule
from fer_edge.training.models.network import ExpressionNet, InputSpec, ModelSpec
from fer_edge.training.models.quantized import QuantizedNet


def test_an_output_that_was_rounded_keeps_its_name() -> None:
    numbers = {"scale": np.float32(0.25), "zero": np.int8(0)}
    nodes = [
        helper.make_node("Relu", ["x"], ["raw"]),
        helper.make_node("QuantizeLinear", ["raw", "scale", "zero"], ["steps"]),
        helper.make_node("DequantizeLinear", ["steps", "scale", "zero"], ["embedding"]),
        helper.make_node("Neg", ["embedding"], ["probabilities"]),
    ]
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3])
        for name in ("x", "embedding", "probabilities")
    ]
    constants = [numpy_helper.from_array(value, name) for name, value in numbers.items()]
    model = helper.make_model(helper.make_graph(nodes, "g", ends[:1], ends[1:], constants))
    scales = _take_scales(model)
    onnx.checker.check_model(model)
    assert [(node.op_type, *node.input, *node.output) for node in model.graph.node] == [
        ("Relu", "x", "embedding"),
        ("Neg", "embedding", "probabilities"),
    ]
    assert list(scales) == ["embedding"]
    assert float(scales["embedding"][0]["scale"]) == 0.25


@pytest.mark.parametrize(
    ("backbone", "neck"), [("cnn48", ()), ("test_resnet", ("linear 8", "relu"))], ids=str
)
def test_a_classifier_that_reads_a_rounded_embedding_keeps_its_eight_bits(
    backbone: str, neck: tuple[str, ...]
) -> None:
    spec = ModelSpec(
        backbone, ("alert", "drowsy", "other"), InputSpec(48, "grey", (0.5,), (0.25,)), neck=neck
    )
    torch.manual_seed(0)
    network = QuantizedNet(ExpressionNet(spec).eval()).eval()
    for scale in network.scales:
        torch.nn.init.constant_(scale, 0.01)
    own = Checkpoint(network)
    faces = np.random.default_rng(0).integers(0, 256, (8, 48, 48, 3), np.uint8)
    form = quantised_form(export_onnx(own), spec.input, faces, 8, own_scales=True)
    ort = import_without_telemetry("onnxruntime")
    session = ort.InferenceSession(form, providers=["CPUExecutionProvider"])
    found = session.run(["probabilities", "embedding"], {"images": faces})
    probabilities, embedding = DeployModule(own).run(faces)
    np.testing.assert_allclose(found[1], embedding, atol=0.021)  # two of its steps
    np.testing.assert_allclose(found[0], probabilities, atol=2e-3)
