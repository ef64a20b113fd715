"""Facts about a graph are counted from its nodes."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from fer_edge.converters.onnx_graph.inspect import (
    before_first_convolution,
    check_int8_layers,
    first_convolution,
    has_attention,
    int8_layers,
    products_of_activations,
    weighted_layers,
)
from fer_edge.errors import ConversionError


def model(*nodes: onnx.NodeProto) -> onnx.ModelProto:
    weight = numpy_helper.from_array(np.zeros((1, 1, 1, 1), np.float32), "w")
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, None)
    return helper.make_model(helper.make_graph(list(nodes), "g", [x], [x], [weight]))


def node(kind: str, *inputs: str, out: str, **attributes: int) -> onnx.NodeProto:
    return helper.make_node(kind, list(inputs), [out], name=f"{kind}_{out}", **attributes)


ATTENTION = model(
    node("Cast", "x", out="a", to=1),
    node("Conv", "a", "w", out="b", group=4),
    node("MatMul", "b", "w", out="c"),
    node("Softmax", "c", out="d"),
    node("MatMul", "d", "c", out="e"),
    node("Softmax", "e", out="f"),
)


def test_the_input_side_ends_at_the_first_convolution() -> None:
    assert before_first_convolution(ATTENTION) == ["Cast_a"]


def test_a_convolution_of_constants_is_not_the_first_one() -> None:
    """Position embeddings take their shape from the image, and nothing else."""
    embedded = model(
        node("Shape", "x", out="s"),
        node("ConstantOfShape", "s", out="ones"),
        node("Conv", "ones", "w", out="position"),
        node("Cast", "x", out="a", to=1),
        node("Conv", "a", "w", out="b"),
        node("Add", "b", "position", out="c"),
    )
    assert first_convolution(embedded) == 4
    assert before_first_convolution(embedded)[-1] == "Cast_a"
    assert first_convolution(model(*embedded.graph.node[:3])) == 3


def test_a_product_of_activations_has_no_weight() -> None:
    assert products_of_activations(ATTENTION) == ["MatMul_e"]


def test_a_softmax_before_the_last_is_attention() -> None:
    assert has_attention(ATTENTION.SerializeToString())
    assert not has_attention(model(node("Softmax", "x", out="a")).SerializeToString())


def test_weighted_and_depthwise_layers_are_counted() -> None:
    assert weighted_layers(ATTENTION.SerializeToString()) == (3, 1)


def test_an_int8_layer_takes_a_dequantised_input() -> None:
    quantised = model(
        node("DequantizeLinear", "x", "w", out="a"),
        node("Conv", "a", "w", out="b"),
        node("Conv", "b", "w", out="c"),
    )
    assert int8_layers(quantised) == (1, 2)
    assert int8_layers(ATTENTION) == (0, 3)


@pytest.mark.parametrize(("count", "layers"), [(0, 0), (0, 3), (3, 6), (2, 5)])
def test_half_of_the_layers_in_float_is_not_int8(count: int, layers: int) -> None:
    check_int8_layers(layers // 2 + 1, layers)
    with pytest.raises(ConversionError, match=f"{layers - count} of {layers} layers in float"):
        check_int8_layers(count, layers)
