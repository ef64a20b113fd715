"""Q/DQ pairs of a quantised checkpoint: its own scales, its own int8 weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import onnx
from onnx import TensorProto, helper, numpy_helper

from fer_edge.converters.onnx_graph.prune import prune
from fer_edge.training.int8_weights import rounded_weight
from fer_edge.training.models.quantize_operation import OPERATION, PER_TENSOR


def translations() -> dict[Callable[..., Any], Callable[..., Any]]:
    """Return how torch's ONNX exporter writes the rounding operation: a Q/DQ pair."""
    from onnxscript import opset18 as op

    zero_int8 = helper.make_tensor("zero", TensorProto.INT8, [], [0])

    def pair(x: Any, scale: Any, axis: int) -> Any:
        zero = op.CastLike(op.Sub(scale, scale), op.Constant(value=zero_int8))
        if axis == PER_TENSOR:
            return op.DequantizeLinear(op.QuantizeLinear(x, scale, zero), scale, zero)
        rounded = op.QuantizeLinear(x, scale, zero, axis=axis)
        return op.DequantizeLinear(rounded, scale, zero, axis=axis)

    return {OPERATION: pair}


def store_weights_as_int8(model: onnx.ModelProto) -> None:
    """Replace float weights and their QuantizeLinear with int8 weights.

    The file shrinks to a quarter, and no engine rounds the weights again.
    """
    graph = model.graph
    stored = {tensor.name: tensor for tensor in graph.initializer}
    kept = []
    for node in graph.node:
        if node.op_type != "QuantizeLinear" or node.input[0] not in stored:
            kept.append(node)
            continue
        weight, scale = (numpy_helper.to_array(stored[name]) for name in node.input[:2])
        axis = next((a.i for a in node.attribute if a.name == "axis"), None)
        graph.initializer.append(
            numpy_helper.from_array(rounded_weight(weight, scale, axis), node.output[0])
        )
    del graph.node[:]
    graph.node.extend(kept)
    prune(model)
