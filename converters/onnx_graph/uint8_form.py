"""Symmetric Q/DQ graphs in the form that ONNX Runtime runs in eight bits.

Its layers have to be rounded directly, before ReLU and ReLU6. Both orders give the same eight bits:
rounding keeps the order of numbers, and 0 is a step of the grid. On x86 its layers take uint8 alone
(1.31), so that activations are stored with 128 added.
"""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

_LAYERS = {"Conv", "Gemm", "MatMul", "Add"}
_MOST, _SHIFT = 127, 128
_ZERO = "zero_of_uint8"
"""Name of the zero point 128."""


def uint8_form(graph: bytes) -> bytes:
    """Clip each layer's eight bits, not its float output; make them uint8.

    Args:
        graph: ONNX with symmetric int8 Q/DQ pairs.

    Returns:
        ONNX with the same answers.
    """
    model = onnx.load_from_string(graph)
    values = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            values[node.output[0]] = node.attribute[0].t
    made_by = {name: node for node in model.graph.node for name in node.output}
    readers = Counter(name for node in model.graph.node for name in node.input)
    readers.update(value.name for value in model.graph.output)
    nodes: list[onnx.NodeProto] = []
    dropped: set[str] = set()
    for node in model.graph.node:
        if node.op_type != "QuantizeLinear":
            nodes.append(node)
            continue
        function = made_by.get(node.input[0])
        scale = values.get(node.input[1])
        most = None if function is None or scale is None else _most(function, scale, values)
        layer = None if function is None else made_by.get(function.input[0])
        if (
            most is None
            or function is None
            or layer is None
            or layer.op_type not in _LAYERS
            or readers[function.input[0]] != 1
            or readers[function.output[0]] != 1
        ):
            nodes.append(node)
            continue
        dropped.add(function.output[0])
        rounded = f"{node.output[0]}.rounded"
        bounds = [f"{node.output[0]}.{end}" for end in ("least", "most")]
        for name, value in zip(bounds, (0, most), strict=True):
            shifted = np.uint8(value + _SHIFT)
            model.graph.initializer.append(numpy_helper.from_array(shifted, name))
        nodes.append(
            helper.make_node("QuantizeLinear", [layer.output[0], *node.input[1:]], [rounded])
        )
        nodes.append(helper.make_node("Clip", [rounded, *bounds], [node.output[0]]))
    kept = [node for node in nodes if not set(node.output) & dropped]
    _use_uint8(kept, set(values))
    model.graph.initializer.append(numpy_helper.from_array(np.uint8(_SHIFT), _ZERO))
    del model.graph.node[:]
    model.graph.node.extend(kept)
    data: bytes = model.SerializeToString()
    return data


def _use_uint8(nodes: list[onnx.NodeProto], stored: set[str]) -> None:
    """Give activations the zero point 128; weights, which are stored, stay int8."""
    for node in nodes:
        pair = node.op_type in ("QuantizeLinear", "DequantizeLinear")
        if pair and node.input[0] not in stored:
            node.input[2] = _ZERO


def _most(
    function: onnx.NodeProto, scale: TensorProto, values: dict[str, TensorProto]
) -> int | None:
    """Return the largest int8 after ReLU or ReLU6; None for another function."""
    if function.op_type == "Relu":
        return _MOST
    if function.op_type != "Clip" or len(function.input) != 3:
        return None
    ends = [values.get(name) for name in function.input[1:]]
    if any(end is None for end in ends):
        return None
    least, most = (float(numpy_helper.to_array(end)) for end in ends if end is not None)
    if least != 0:
        return None
    step = numpy_helper.to_array(scale).astype(np.float32)
    return int(min(np.rint(np.float32(most) / step), _MOST)) if step.ndim == 0 else None
