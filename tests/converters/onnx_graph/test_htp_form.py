"""Graphs with own scales lose their roundings and keep their outputs."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from fer_edge.converters.onnx_graph.htp_form import _take_scales


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
