"""Graphs for an HTP, with all inner tensors quantised or all float.

Pixels enter as the eight bits that they are. Colour and normalisation are one convolution. The
logits and the softmax have 16 bits: eight would round a probability to 1/255.
"""

from __future__ import annotations

import contextlib
import logging
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from fer_edge.converters.onnx_graph.export import INPUT, PROBABILITIES
from fer_edge.converters.onnx_graph.fold import folded
from fer_edge.converters.onnx_graph.htp_graph import (
    NORMALISED,
    PIXELS,
    PLANES,
    WEIGHT,
    dequantise_pixels,
    fold_temperature,
    network_input,
    normalisation_scales,
    pool_with_explicit_padding,
    tensor_names,
    with_pixel_input,
)
from fer_edge.converters.onnx_graph.htp_logits import Overrides, largest_logit
from fer_edge.converters.onnx_graph.int8 import calibration_reader
from fer_edge.converters.onnx_graph.prune import prune
from fer_edge.errors import ConversionError
from fer_edge.training.models.network import InputSpec

_MOST, _MIDDLE = 127, 128
_TO_16_BITS = 257
"""Number of 16-bit steps in an 8-bit step. It makes each 8-bit value a 16-bit value."""


def float_form(graph: bytes, spec: InputSpec) -> bytes:
    """Return a graph in float32, which an HTP computes in fp16.

    Args:
        graph: Exported ONNX.
        spec: Input of the network.
    """
    model = with_pixel_input(onnx.load_from_string(folded(graph)), spec)
    pool_with_explicit_padding(model)
    dequantise_pixels(model)
    return _finished(model, graph)


def quantised_form(
    graph: bytes,
    spec: InputSpec,
    faces: npt.NDArray[np.uint8],
    bits: int,
    own_scales: bool = False,
) -> bytes:
    """Quantise every tensor with onnxruntime's recipe for QNN.

    Args:
        graph: Exported ONNX; with Q/DQ pairs if ``own_scales``.
        spec: Input of the network.
        faces: Calibration faces, uint8 ``[N, S, S, 3]`` BGR.
        bits: 8 or 16 bits for activations; weights have eight.
        own_scales: The graph's scales are the network's own and are kept. Calibration finds those
            of the tensors that the network keeps in float, such as a sigmoid's input.

    Returns:
        ONNX in Q/DQ form.

    Raises:
        ConversionError: onnxruntime fails, or faces are missing.
    """
    if not len(faces):
        raise ConversionError("expected faces for calibration. Give some with --calibrate")
    model, overrides = onnx.load_from_string(graph), Overrides()
    if own_scales:
        overrides = _take_scales(model)
    model = onnx.load_from_string(folded(model.SerializeToString()))
    _bound_from_above(model, overrides)
    first = network_input(model, spec)
    model = with_pixel_input(model, spec)
    pool_with_explicit_padding(model)
    if first in overrides:
        overrides[NORMALISED] = overrides.pop(first)
    known = tensor_names(model)
    if missing := [name for name in overrides if name not in known]:
        raise ConversionError(
            "the HTP's graph cannot hold the int8 scales of this network: folding lost the tensors "
            f"{', '.join(missing[:3])}. Convert with --precision fp16"
        )
    overrides |= _input_scales(spec, bits)
    _take_unsigned_gains(model, overrides)
    changed, temperature = fold_temperature(model)
    for name in changed:
        for entry in overrides.get(name, []):
            entry["scale"] = np.array(entry["scale"] / temperature, np.float32)
    _widen_head(model, overrides)
    wide = bits == 16 or own_scales  # what a quantised network keeps in float gets 16 bits
    if not wide and _has_layer_norm(model):
        wide = True
        _narrow_layers(model, overrides)
    return _finished(_quantised(model, faces, wide, own_scales, overrides), graph)


def _quantised(
    model: onnx.ModelProto,
    faces: npt.NDArray[np.uint8],
    wide: bool,
    own_scales: bool,
    overrides: Overrides,
) -> onnx.ModelProto:
    from onnxruntime.quantization import QuantType, quantize
    from onnxruntime.quantization.execution_providers.qnn import (
        get_qnn_qdq_config,
        qnn_preprocess_model,
    )

    del model.metadata_props[:]  # onnxruntime 1.31 cannot preprocess a model that has some
    with tempfile.TemporaryDirectory() as folder:
        source, ready, result = (Path(folder, f"{name}.onnx") for name in ("a", "b", "c"))
        onnx.save(model, source)
        root = logging.getLogger()
        level = root.level
        root.setLevel(logging.ERROR)  # the quantiser warns through the root logger
        try:
            # The quantiser prints, and standard output belongs to the command's result.
            with contextlib.redirect_stdout(None):
                changed = qnn_preprocess_model(source, ready, fuse_layernorm=True)
                config = get_qnn_qdq_config(
                    ready if changed else source,
                    calibration_reader(faces),
                    activation_type=QuantType.QUInt16 if wide else QuantType.QUInt8,
                    weight_type=QuantType.QInt8,
                    per_channel=True,
                    init_overrides=overrides,
                    keep_removable_activations=own_scales,
                )
                moved = {
                    node.output[0]: node.input[0]
                    for node in model.graph.node
                    if node.op_type == "Reshape" and node.output[0] not in overrides
                }
                settings = config.extra_options["TensorQuantOverrides"]
                _convert_exactly(settings, overrides, moved)
                quantize(str(ready if changed else source), str(result), config)
        except Exception as error:  # the quantiser raises many kinds, none of them ours
            raise ConversionError(f"onnxruntime could not quantise the graph: {error}") from error
        finally:
            root.setLevel(level)
        return _take_pixels(onnx.load(str(result)))


def _convert_exactly(settings: Mapping[str, Any], own: Overrides, moved: Mapping[str, str]) -> None:
    """Let each tensor with own scales keep its numbers where 16 bits read it.

    ``moved`` names the source of a tensor that a Reshape made. Its range would be found before
    rounding, and rounded values may lie beyond it.
    """
    for name, entries in settings.items():
        source = (own.get(moved.get(name, name)) or [{}])[0]
        if "scale" not in source or "convert" not in entries[0]:
            continue
        scale, zero = source["scale"], source["zero_point"]
        if name in moved:
            entries[0] |= {"scale": scale, "zero_point": zero}
        entries[0]["convert"] |= {
            "scale": np.array(scale / _TO_16_BITS, np.float32),
            "zero_point": np.array(int(zero) * _TO_16_BITS, np.uint16),
        }


def _eight_bits(scale: Any, zero: int = 0) -> list[dict[str, Any]]:
    from onnxruntime.quantization import QuantType

    return [
        {
            "quant_type": QuantType.QUInt8,
            "scale": np.array(scale, np.float32),
            "zero_point": np.array(zero, np.uint8),
        }
    ]


def _weights(scales: npt.NDArray[np.float32], axis: int | None) -> list[dict[str, Any]]:
    from onnxruntime.quantization import QuantType

    entries: list[dict[str, Any]] = [
        {
            "quant_type": QuantType.QInt8,
            "scale": np.array(scale, np.float32),
            "zero_point": np.array(0, np.int8),
        }
        for scale in scales.reshape(-1)
    ]
    if axis is not None:
        entries[0]["axis"] = axis
    return entries


def _take_scales(model: onnx.ModelProto) -> Overrides:
    """Turn a symmetric Q/DQ graph into a float graph, in place, and return its scales.

    Activations get uint8: the zero point 128 stands for 0."""
    graph = model.graph
    stored = {tensor.name: tensor for tensor in graph.initializer}
    made_by = {name: node for node in graph.node for name in node.output}
    scales: Overrides = {}
    sources: dict[str, str] = {}
    kept = []
    for node in graph.node:
        if node.op_type == "DequantizeLinear" and node.input[0] in stored:
            weight, scale = (numpy_helper.to_array(stored[name]) for name in node.input[:2])
            axis = next((a.i for a in node.attribute if a.name == "axis"), None)
            if scale.ndim == 0:
                axis = None
            shape = [-1 if i == axis else 1 for i in range(weight.ndim)]
            values = weight.astype(np.float32) * scale.reshape(shape)
            graph.initializer.append(numpy_helper.from_array(values, node.output[0]))
            scales[node.output[0]] = _weights(scale, axis)
        elif node.op_type == "DequantizeLinear":
            rounding = made_by[node.input[0]]
            name = sources.get(rounding.input[0], rounding.input[0])
            scale = numpy_helper.to_array(stored[rounding.input[1]])
            sources[node.output[0]] = name
            scales[name] = _eight_bits(scale, _MIDDLE)
        elif node.op_type != "QuantizeLinear":
            kept.append(node)
    # A rounding may have made an output of the graph: the tensor that it rounded takes its name.
    ends = {sources[end.name]: end.name for end in graph.output if end.name in sources}
    for node in kept:
        for i, name in enumerate(node.input):
            name = sources.get(name, name)
            node.input[i] = ends.get(name, name)
        for i, name in enumerate(node.output):
            node.output[i] = ends.get(name, name)
    scales = {ends.get(name, name): entries for name, entries in scales.items()}
    del graph.node[:]
    graph.node.extend(kept)
    prune(model)
    return scales


def _bound_from_above(model: onnx.ModelProto, overrides: Overrides) -> None:
    """Write each ReLU and ReLU6 with its own scales as ReLU and minimum.

    The graph is changed in place. In one function the upper end would be lost. The HTP's compiler
    joins the function with the layer before it, whose uint8 then ends at 255 steps. The network's
    int8 ends at 127 or at 6 (QNN 2.51).
    """
    graph = model.graph
    stored = {tensor.name: tensor for tensor in graph.initializer}
    nodes = []
    for node in graph.node:
        nodes.append(node)
        most = _most(node, stored)
        if most is None or node.output[0] not in overrides:
            continue
        result = node.output[0]
        scale = overrides[result][0]["scale"]
        bound, above = f"{result}_most", f"{result}_above"
        limit = np.float32(min(np.rint(most / scale), _MOST) * scale)
        graph.initializer.append(numpy_helper.from_array(limit, bound))
        nodes[-1] = helper.make_node("Relu", [node.input[0]], [above], above)
        nodes.append(helper.make_node("Min", [above, bound], [result], result))
        for name in (node.input[0], above, bound, result):
            overrides[name] = _eight_bits(scale)
    del graph.node[:]
    graph.node.extend(nodes)


def _most(function: onnx.NodeProto, stored: Mapping[str, onnx.TensorProto]) -> float | None:
    """Return the upper end of a ReLU or a ReLU6; None for another function."""
    if function.op_type == "Relu":
        return float("inf")
    if function.op_type != "Clip" or not set(function.input[1:]) <= set(stored):
        return None
    ends = [float(numpy_helper.to_array(stored[name])) for name in function.input[1:]]
    return ends[1] if len(ends) == 2 and ends[0] == 0 else None


def _input_scales(spec: InputSpec, bits: int) -> Overrides:
    from onnxruntime.quantization import QuantType

    pixels = _eight_bits(1)
    if bits == 16:  # the convolution's output has as many bits as its input
        wide = {
            "scale": np.array(1 / _TO_16_BITS, np.float32),
            "zero_point": np.array(0, np.uint16),
        }
        pixels = [{"quant_type": QuantType.QUInt16, **wide}]
    return {PIXELS: pixels, PLANES: pixels, WEIGHT: _weights(normalisation_scales(spec), 0)}


def _has_layer_norm(model: onnx.ModelProto) -> bool:
    return any(node.op_type == "LayerNormalization" for node in model.graph.node)


def _narrow_layers(model: onnx.ModelProto, overrides: Overrides) -> None:
    """Give eight bits to the layers with weights alone.

    The residual stream, norms, softmax and products of attention keep 16: with eight, a small
    vision transformer decided as in float on 58 % of the faces.
    """
    from onnxruntime.quantization import QuantType

    weights = {tensor.name for tensor in model.graph.initializer}
    layers = [
        node
        for node in model.graph.node
        if node.op_type in ("Gemm", "MatMul")
        and node.input[1] in weights
        and node.output[0] not in overrides  # the logits
    ]
    readers: dict[str, set[str]] = {}
    for layer in layers:
        readers.setdefault(layer.input[0], set()).add(layer.name)
    for name, names in readers.items():
        narrow = {"quant_type": QuantType.QUInt8, "recv_nodes": names}
        overrides[name] = [{"quant_type": QuantType.QUInt16, "convert": narrow}]
    for layer in layers:
        wider = {"quant_type": QuantType.QUInt16}
        overrides[layer.output[0]] = [{"quant_type": QuantType.QUInt8, "convert": wider}]


def _take_unsigned_gains(model: onnx.ModelProto, overrides: Overrides) -> None:
    """Store the gains of layer norms as uint8: the HTP takes no int8 there."""
    from onnxruntime.quantization import QuantType

    for node in model.graph.node:
        if node.op_type == "LayerNormalization":
            overrides[node.input[1]] = [{"quant_type": QuantType.QUInt8, "symmetric": False}]


def _widen_head(model: onnx.ModelProto, overrides: Overrides) -> None:
    """Give the logits, and what is between them and the probabilities, 16 bits."""
    from onnxruntime.quantization import QuantType

    made_by = {name: node for node in model.graph.node for name in node.output}
    overrides[PROBABILITIES] = [{"quant_type": QuantType.QUInt16, **_range(0, 1)}]
    name = made_by[PROBABILITIES].input[0]
    while (node := made_by.get(name)) is not None:
        overrides[name] = [{"quant_type": QuantType.QUInt16}]
        if node.op_type in ("Gemm", "MatMul"):
            source = (overrides.get(node.input[0]) or [{}])[0]
            if "scale" in source:  # eight bits: a layer reads as many as it writes
                wide = {"quant_type": QuantType.QUInt16, "recv_nodes": {node.name}}
                source["convert"] = wide
            break
        name = node.input[0]
    if node is None or node.op_type != "Gemm":
        return
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    bound = largest_logit(node, weights, made_by, overrides)
    if bound is not None:
        overrides[name][0] |= _range(-bound, bound)


def _range(low: float, high: float) -> dict[str, Any]:
    return {"rmin": np.array(low, np.float32), "rmax": np.array(high, np.float32)}


def _take_pixels(model: onnx.ModelProto) -> onnx.ModelProto:
    """Make the eight bits of the pixels the input. The quantiser rounded them after a cast."""
    graph = model.graph
    dequantise_pixels(model)
    zeros = {t.name: t.data_type for t in graph.initializer}
    again = next(node for node in graph.node if PIXELS in node.input)
    if again.op_type == "QuantizeLinear" and zeros[again.input[2]] == TensorProto.UINT8:
        for node in graph.node:
            for i, name in enumerate(node.input):
                if name == again.output[0]:
                    node.input[i] = INPUT
    prune(model)
    return model


def _finished(model: onnx.ModelProto, exported: bytes) -> bytes:
    """Return the bytes, with the exporter's facts; see model_files.model_check."""
    facts = onnx.load_from_string(exported).metadata_props
    del model.metadata_props[:], model.graph.value_info[:]
    model.metadata_props.extend(facts)
    used = {node.domain for node in model.graph.node}
    for entry in [e for e in model.opset_import if e.domain and e.domain not in used]:
        model.opset_import.remove(entry)
    data: bytes = model.SerializeToString(deterministic=True)
    return data
