"""Facts about an ONNX graph: layers, attention, roles of nodes."""

from __future__ import annotations

import onnx

from fer_edge.errors import ConversionError

WEIGHTED = ("Conv", "Gemm", "MatMul")
"""Operations with weights that quantisation rounds."""


def first_convolution(model: onnx.ModelProto) -> int:
    """Return the position of the first convolution of the image among the nodes.

    A convolution of constants may come before it, as in a position embedding that takes only its
    shape from the image.

    Returns:
        The position; the number of nodes if there is no such convolution.
    """
    of_image = {value.name for value in model.graph.input}
    for position, node in enumerate(model.graph.node):
        if node.op_type == "Conv" and node.input[0] in of_image:
            return position
        if node.op_type not in ("Shape", "Size") and not of_image.isdisjoint(node.input):
            of_image.update(node.output)
    return len(model.graph.node)


def before_first_convolution(model: onnx.ModelProto) -> list[str]:
    """Return the nodes before the first convolution of the image: colour and normalisation."""
    return [node.name for node in model.graph.node[: first_convolution(model)]]


def products_of_activations(model: onnx.ModelProto) -> list[str]:
    """Return the names of the matrix products without a weight.

    The quantiser's ``MatMulConstBOnly`` does not spare them in Q/DQ form.
    """
    weights = {weight.name for weight in model.graph.initializer}
    return [
        node.name
        for node in model.graph.node
        if node.op_type == "MatMul" and weights.isdisjoint(node.input)
    ]


def has_attention(graph: bytes) -> bool:
    """Return True if the graph has a softmax before its last one."""
    kinds = [node.op_type for node in onnx.load_from_string(graph).graph.node]
    return kinds.count("Softmax") > 1


def weighted_layers(graph: bytes) -> tuple[int, int]:
    """Count the convolutions and matrix products, and the depthwise convolutions among them."""
    nodes = onnx.load_from_string(graph).graph.node
    groups = [a.i for n in nodes if n.op_type == "Conv" for a in n.attribute if a.name == "group"]
    return sum(n.op_type in WEIGHTED for n in nodes), sum(count > 1 for count in groups)


def int8_layers(model: onnx.ModelProto) -> tuple[int, int]:
    """Count convolutions and matrix products that take int8 inputs, and all of them.

    The graph is in Q/DQ form.
    """
    rounded = {n.output[0] for n in model.graph.node if n.op_type == "DequantizeLinear"}
    layers = [node for node in model.graph.node if node.op_type in WEIGHTED]
    return sum(not rounded.isdisjoint(node.input) for node in layers), len(layers)


def check_int8_layers(count: int, layers: int) -> None:
    """Refuse an int8 network that computes half of its layers or more in float.

    Its parity would be that of a float network, and ``Execution.refusal`` refuses it.

    Args:
        count: Number of layers in int8.
        layers: Number of layers.

    Raises:
        ConversionError: Half of the layers or more are in float.
    """
    if 2 * count <= layers:
        raise ConversionError(
            f"this recipe keeps {layers - count} of {layers} layers in float: int8 needs more than "
            "half. Choose another precision"
        )
