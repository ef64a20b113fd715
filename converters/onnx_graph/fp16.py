"""fp16 form of a graph: types and casts in the graph.

TensorRT 11 compiles exactly the types that the graph states. The input side (colour, normalisation)
and the softmax stay in float32; the graph takes uint8 and returns float32.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper, shape_inference

from fer_edge.converters.onnx_graph.export import PROBABILITIES
from fer_edge.converters.onnx_graph.fold import folded
from fer_edge.converters.onnx_graph.inspect import first_convolution
from fer_edge.errors import ConversionError

_FLOAT, _HALF = TensorProto.FLOAT, TensorProto.FLOAT16
_HALF_MAX = 65504.0
"""Largest finite fp16 number (IEEE 754 binary16)."""
_ALWAYS_FLOAT = {"Resize": (1, 2)}
"""Inputs, by position, that ONNX requires in float32 for any type of data."""
_AFTER_LOGITS = {"Softmax", "Div", "Mul"}


def half_precision(graph: bytes) -> bytes:
    """Convert everything from the first convolution to the logits to fp16.

    Args:
        graph: Exported ONNX.

    Returns:
        ONNX, the same bytes for the same graph.

    Raises:
        ConversionError: The graph has no convolution, or tensors without a known type.
    """
    model = onnx.load_from_string(folded(graph))
    nodes = list(model.graph.node)
    first = first_convolution(model)
    if first == len(nodes):
        raise ConversionError("expected a convolution to begin fp16 at, the graph has none")
    body = {id(node) for node in nodes[first:]} - _after_logits(nodes)
    retyped = _Retyping(model)
    for node in nodes:
        retyped.add(node, _HALF if id(node) in body else _FLOAT)
    del model.graph.node[:], model.graph.initializer[:], model.graph.value_info[:]
    model.graph.node.extend(retyped.nodes)
    model.graph.initializer.extend(retyped.weights.values())
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, shape_inference.InferenceError) as error:
        raise ConversionError(f"the graph has no valid fp16 form: {error}") from error
    data: bytes = model.SerializeToString(deterministic=True)
    return data


def _after_logits(nodes: list[onnx.NodeProto]) -> set[int]:
    """Return the ids of the nodes of temperature and softmax, up from the probabilities."""
    producer = {output: node for node in nodes for output in node.output}
    ids, name = set(), PROBABILITIES
    while (node := producer.get(name)) is not None and node.op_type in _AFTER_LOGITS:
        ids.add(id(node))
        name = node.input[0]
    return ids


class _Retyping:
    """Rebuilds a graph, and casts float tensors where their type changes."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: dict[str, onnx.TensorProto] = {}
        self._outputs = {value.name for value in model.graph.output}
        self._initializers = {weight.name: weight for weight in model.graph.initializer}
        self._float = _float_names(model)
        self._current: dict[str, tuple[str, int]] = {}  # by original name: present name and type
        self._casts: dict[tuple[str, int], str] = {}

    def add(self, node: onnx.NodeProto, dtype: int) -> None:
        new = onnx.NodeProto()
        new.CopyFrom(node)
        for attribute in new.attribute:
            if node.op_type == "Cast" and attribute.name == "to" and attribute.i == _FLOAT:
                attribute.i = dtype
            if node.op_type == "ConstantOfShape" and attribute.t.data_type == _FLOAT:
                attribute.t.CopyFrom(_as_type(attribute.t, dtype))
        exempt = _ALWAYS_FLOAT.get(node.op_type, ())
        for i, name in enumerate(node.input):
            new.input[i] = self._as(name, _FLOAT if i in exempt else dtype)
        casts = []
        for i, name in enumerate(node.output):
            if name not in self._float:
                continue
            self._current[name] = (name, dtype)
            if name in self._outputs and dtype != _FLOAT:
                new.output[i] = f"{name}.half"
                self._current[name] = (new.output[i], dtype)
                casts.append(_cast(new.output[i], name, _FLOAT))
        self.nodes += [new, *casts]

    def _as(self, name: str, dtype: int) -> str:
        """Return a tensor's name in a type; only float tensors change."""
        if name in self._initializers:
            weight = self._initializers[name]
            if name not in self._float or dtype == _FLOAT:
                self.weights[name] = weight
                return name
            half = f"{name}.half"
            self.weights[half] = _as_type(weight, dtype)
            self.weights[half].name = half
            return half
        if name not in self._float:
            return name
        current, kind = self._current[name]
        if kind == dtype:
            return current
        if (current, dtype) not in self._casts:
            self._casts[current, dtype] = f"{current}.{'float' if dtype == _FLOAT else 'half'}"
            self.nodes.append(_cast(current, self._casts[current, dtype], dtype))
        return self._casts[current, dtype]


def _cast(name: str, result: str, to: int) -> onnx.NodeProto:
    return helper.make_node("Cast", [name], [result], f"{result}.cast", to=to)


def _as_type(tensor: onnx.TensorProto, to: int) -> onnx.TensorProto:
    values = numpy_helper.to_array(tensor)
    if to == _HALF:  # attention masks hold the lowest float32, an infinity in fp16
        values = np.clip(values, -_HALF_MAX, _HALF_MAX).astype(np.float16)
    return numpy_helper.from_array(values, tensor.name)


def _float_names(model: onnx.ModelProto) -> set[str]:
    """Return the names of all float32 tensors; raises ConversionError for an unknown type."""
    kinds = {weight.name: weight.data_type for weight in model.graph.initializer}
    graph = shape_inference.infer_shapes(model, strict_mode=True, data_prop=True).graph
    for value in (*graph.input, *graph.value_info, *graph.output):
        kinds[value.name] = value.type.tensor_type.elem_type
    unknown = {name for node in graph.node for name in node.output if name} - set(kinds)
    if unknown:
        raise ConversionError(f"the types of {', '.join(sorted(unknown))} are not known")
    return {name for name, kind in kinds.items() if kind == _FLOAT}
