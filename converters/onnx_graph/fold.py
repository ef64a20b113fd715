"""Folding of an exported graph to float32, the base of all precisions."""

from __future__ import annotations

import tempfile
from pathlib import Path

import onnx

from fer_edge.errors import ConversionError


def folded(graph: bytes) -> bytes:
    """Fold casts and batch norms into the weights, in float32.

    The weights are then those that an engine computes with, and those to round.

    Args:
        graph: Exported ONNX.

    Returns:
        ONNX, the same bytes for the same graph.

    Raises:
        ConversionError: onnxruntime cannot fold the graph.
    """
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with tempfile.TemporaryDirectory() as folder:
        source, result = Path(folder, "source.onnx"), Path(folder, "folded.onnx")
        source.write_bytes(graph)
        try:
            quant_pre_process(str(source), str(result), skip_symbolic_shape=True)
        except Exception as error:  # onnxruntime raises many kinds, none of them ours
            raise ConversionError(f"onnxruntime could not fold the graph: {error}") from error
        model = onnx.load(str(result))
    for entry in [entry for entry in model.opset_import if entry.domain]:
        model.opset_import.remove(entry)  # onnxruntime's own domains, used or not
    for node in [node for node in model.graph.node if node.op_type == "Constant"]:
        value = next((a.t for a in node.attribute if a.name == "value"), None)
        if value is None:  # it stops at a broken graph, prints why, and returns what it has
            raise ConversionError(f"onnxruntime could not fold the constant {node.output[0]!r}")
        value.name = node.output[0]
        model.graph.initializer.append(value)
        model.graph.node.remove(node)
    data: bytes = model.SerializeToString(deterministic=True)
    return data
