"""Graphs that are rewritten for an HTP keep their answers, or are refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import NodeProto, TensorProto, helper, numpy_helper

from fer_edge.converters.onnx_graph.htp_graph import (
    pool_with_explicit_padding,
    with_pixel_input,
)
from fer_edge.errors import ConversionError
from fer_edge.telemetry import import_without_telemetry
from fer_edge.training.models.network import InputSpec

SPEC = InputSpec(8, "rgb", (0.5, 0.4, 0.3), (0.2, 0.25, 0.3))
NUMBERS: dict[str, Any] = {
    "flipped": np.array([2, 1, 0]),
    "mean": 255 * np.array(SPEC.mean, np.float32).reshape(1, 3, 1, 1),
    "std": 255 * np.array(SPEC.std, np.float32).reshape(1, 3, 1, 1),
    "blocks": np.array([1, 3, 4, 2, 4, 2]),
    "deep": np.array([1, 12, 4, 4]),
    "sides": np.array([0, 0, 0, 0, 0, 0, 1, 1]),
}
NORMALISED = (
    helper.make_node("Cast", ["images"], ["float"], to=TensorProto.FLOAT),
    helper.make_node("Gather", ["float", "flipped"], ["rgb"], axis=3),
    helper.make_node("Transpose", ["rgb"], ["planes_"], perm=[0, 3, 1, 2]),
    helper.make_node("Sub", ["planes_", "mean"], ["centred"]),
    helper.make_node("Div", ["centred", "std"], ["image"]),
)
SPACE_TO_DEPTH = (
    helper.make_node("Reshape", ["image", "blocks"], ["a"]),
    helper.make_node("Transpose", ["a"], ["b"], perm=[0, 3, 5, 1, 2, 4]),
    helper.make_node("Reshape", ["b", "deep"], ["stem"]),
)
PADDED = (helper.make_node("Pad", ["image", "sides"], ["stem"]),)
TWICE = (helper.make_node("Add", ["image", "image"], ["stem"]),)


def model(*nodes: NodeProto, channels: int = 3) -> onnx.ModelProto:
    weight = np.random.default_rng(0).normal(size=(4, channels, 2, 2)).astype(np.float32)
    last = helper.make_node("Conv", [nodes[-1].output[0], "weight"], ["y"])
    constants = [
        numpy_helper.from_array(value, name)
        for name, value in {**NUMBERS, "weight": weight}.items()
    ]
    graph = helper.make_graph(
        [*nodes, last],
        "g",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, [1, 8, 8, 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        constants,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def run(graph: onnx.ModelProto, name: str, values: Any) -> Any:
    ort = import_without_telemetry("onnxruntime")
    data = graph.SerializeToString()
    session = ort.InferenceSession(data, providers=["CPUExecutionProvider"])
    return session.run(None, {name: values})[0]


@pytest.mark.parametrize(
    ("stem", "channels"), [((), 3), (SPACE_TO_DEPTH, 12), (PADDED, 3), (TWICE, 3)]
)
def test_what_a_network_does_before_its_first_convolution_stays(
    stem: tuple[NodeProto, ...], channels: int
) -> None:
    faces = np.random.default_rng(1).integers(0, 256, (1, 8, 8, 3), np.uint8)
    expected = run(model(*NORMALISED, *stem, channels=channels), "images", faces)
    changed = with_pixel_input(model(*NORMALISED, *stem, channels=channels), SPEC)
    np.testing.assert_allclose(run(changed, "images", faces), expected, rtol=1e-4, atol=1e-4)
    assert "Gather" not in {node.op_type for node in changed.graph.node}


def test_a_convolution_of_constants_may_come_first() -> None:
    """Position embeddings take their shape from the image, and nothing else."""
    faces = np.random.default_rng(1).integers(0, 256, (1, 8, 8, 3), np.uint8)
    position = (
        helper.make_node("Shape", ["images"], ["shape"]),
        helper.make_node("ConstantOfShape", ["shape"], ["zeros"]),
        helper.make_node("Transpose", ["zeros"], ["plane"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["plane", "weight"], ["position"]),
    )
    graph = model(*position, *NORMALISED)
    graph.graph.node[-1].output[0] = "features"
    graph.graph.node.append(helper.make_node("Add", ["features", "position"], ["y"]))
    expected = run(graph, "images", faces)
    changed = with_pixel_input(graph, SPEC)
    np.testing.assert_allclose(run(changed, "images", faces), expected, rtol=1e-4, atol=1e-4)
    assert "Gather" not in {node.op_type for node in changed.graph.node}


def test_a_graph_without_the_normalised_image_is_refused() -> None:
    for nodes in (NORMALISED[:-1], NORMALISED[:3]):
        with pytest.raises(ConversionError, match=r"normalised image.*for another target$"):
            with_pixel_input(model(*nodes), SPEC)


def pooling(kind: str, side: int, facts: dict[str, Any]) -> onnx.ModelProto:
    nodes = [
        helper.make_node("Identity", ["x"], ["h"]),
        helper.make_node(kind, ["h"], ["y"], "pool", ceil_mode=1, **facts),
    ]
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in (("x", [1, 2, side, side]), ("y", None))
    ]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)


@pytest.mark.parametrize("side", [6, 7, 8])
@pytest.mark.parametrize(
    ("kind", "facts"),
    [
        ("AveragePool", {"kernel_shape": [2, 2], "strides": [2, 2], "count_include_pad": 1}),
        ("AveragePool", {"kernel_shape": [3, 2], "strides": [2, 3]}),
        ("AveragePool", {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}),
        ("MaxPool", {"kernel_shape": [2, 2], "strides": [2, 2], "dilations": [2, 2]}),
        ("MaxPool", {"kernel_shape": [3, 2], "strides": [3, 2], "dilations": [2, 3]}),
        ("MaxPool", {"kernel_shape": [3, 3], "strides": [2, 2], "auto_pad": "SAME_UPPER"}),
    ],
)
def test_explicit_padding_changes_no_answer(kind: str, facts: dict[str, Any], side: int) -> None:
    x = np.random.default_rng(0).normal(2, 1, (1, 2, side, side)).astype(np.float32)
    plain = pooling(kind, side, facts)
    expected = run(plain, "x", x)
    pool_with_explicit_padding(plain)
    np.testing.assert_allclose(run(plain, "x", x), expected, rtol=1e-6)


def test_an_average_that_counts_its_padding_and_not_that_of_ceil_mode_is_refused() -> None:
    facts = {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1] * 4, "count_include_pad": 1}
    even = pooling("AveragePool", 8, facts)
    with pytest.raises(ConversionError, match=r"'pool' counts its padding.*another target$"):
        pool_with_explicit_padding(even)
    odd = pooling("AveragePool", 7, facts)  # its windows end with its padding
    x = np.random.default_rng(0).normal(2, 1, (1, 2, 7, 7)).astype(np.float32)
    expected = run(odd, "x", x)
    pool_with_explicit_padding(odd)
    np.testing.assert_allclose(run(odd, "x", x), expected, rtol=1e-6)
