"""A typed graph states fp16 from the first convolution to the logits."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper

from fer_edge.backends import tensorrt_compile as compiler
from fer_edge.backends.base import Options
from fer_edge.backends.onnxruntime import OnnxRuntimeSession
from fer_edge.converters.onnx_graph.fp16 import half_precision
from fer_edge.errors import ConversionError


def kinds(model: onnx.ModelProto) -> dict[str, int]:
    shaped = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True).graph
    return {
        v.name: v.type.tensor_type.elem_type
        for v in (*shaped.input, *shaped.value_info, *shaped.output)
    }


def test_fp16_is_fp16_from_the_first_convolution_to_the_logits(graph: bytes) -> None:
    model = onnx.load_from_string(half_precision(graph))
    kind = kinds(model)
    assert kind["images"] == TensorProto.UINT8
    assert (kind["probabilities"], kind["embedding"]) == (TensorProto.FLOAT, TensorProto.FLOAT)
    nodes = model.graph.node
    assert next(n for n in nodes if "images" in n.input and n.op_type != "Shape").op_type == "Cast"
    for node in nodes:
        if node.op_type in ("Conv", "Gemm", "Relu", "Add"):
            assert kind[node.output[0]] == TensorProto.FLOAT16, node.name
    softmax = next(n for n in nodes if n.op_type == "Softmax")
    assert kind[softmax.output[0]] == TensorProto.FLOAT
    assert [o.domain for o in model.opset_import] == [""]


def test_fp16_keeps_masks_finite_resizes_and_weights_in_constants() -> None:
    """Operations of transformers and pyramids that the test network lacks."""
    make, info = onnx.helper.make_node, onnx.helper.make_tensor_value_info
    scales = numpy_helper.from_array(np.array([1, 1, 2, 2], np.float32), "scales")
    mask = numpy_helper.from_array(np.full((1, 1, 1, 1), -3.4e38, np.float32), "mask")
    weight = numpy_helper.from_array(np.ones((3, 3, 1, 1), np.float32), "weight")
    nodes = [
        make("Cast", ["images"], ["x"], to=TensorProto.FLOAT),
        make("Transpose", ["x"], ["nchw"], perm=[0, 3, 1, 2]),
        make("Constant", [], ["weight"], value=weight),
        make("Conv", ["nchw", "weight"], ["c"]),
        make("Resize", ["c", "", "scales"], ["r"], mode="nearest"),
        make("Add", ["r", "mask"], ["masked"]),
        make("Max", ["masked", "r"], ["kept"]),
        make("ReduceMean", ["kept", "axes"], ["embedding"], keepdims=0),
        make("Softmax", ["embedding"], ["probabilities"]),
    ]
    outputs = [info(n, TensorProto.FLOAT, ["n", 3]) for n in ("probabilities", "embedding")]
    inputs = [info("images", TensorProto.UINT8, ["n", 8, 8, 3])]
    axes = numpy_helper.from_array(np.array([2, 3]), "axes")
    whole = onnx.helper.make_graph(nodes, "g", inputs, outputs, [scales, mask, axes])
    model = onnx.helper.make_model(
        whole, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=10
    )
    faces = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), np.uint8)
    given = model.SerializeToString()
    typed = half_precision(given)
    ours, wanted = (OnnxRuntimeSession(m, Options()).run(faces) for m in (typed, given))
    assert ours[1] == pytest.approx(wanted[1], rel=2e-3)
    stored = {
        w.name: numpy_helper.to_array(w) for w in onnx.load_from_string(typed).graph.initializer
    }
    assert all(np.isfinite(value).all() for value in stored.values())
    if compiler.library() is not None:
        engine = compiler.compile_engine(
            compiler.library(), typed, compiler.Profile(1, 1, 2), "sm_89"
        ).engine
        assert engine


def test_a_network_without_a_convolution_has_no_fp16_form() -> None:
    info = onnx.helper.make_tensor_value_info
    nodes = [onnx.helper.make_node("Cast", ["images"], ["probabilities"], to=TensorProto.FLOAT)]
    whole = onnx.helper.make_graph(
        nodes,
        "g",
        [info("images", TensorProto.UINT8, ["n", 3])],
        [info("probabilities", TensorProto.FLOAT, ["n", 3])],
    )
    model = onnx.helper.make_model(
        whole, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=10
    )
    with pytest.raises(ConversionError, match="expected a convolution"):
        half_precision(model.SerializeToString())


def test_the_form_is_the_same_each_time(graph: bytes) -> None:
    assert half_precision(graph) == half_precision(graph)
