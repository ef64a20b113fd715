"""ONNX Runtime: the exported graph, and a statically quantised form of it."""

from __future__ import annotations

from importlib.metadata import version

import numpy as np
import numpy.typing as npt

from fer_edge.backends.onnxruntime import FACTS
from fer_edge.converters.base import Artifact, ConversionInput, QuantizationRecipe
from fer_edge.converters.onnx_graph.export import graph_path
from fer_edge.converters.onnx_graph.fold import folded
from fer_edge.converters.onnx_graph.inspect import has_attention
from fer_edge.converters.onnx_graph.int8 import RANGES, quantised
from fer_edge.converters.onnx_graph.uint8_form import uint8_form

PRECISIONS = FACTS.precisions


def recipes(source: ConversionInput, precision: str) -> tuple[QuantizationRecipe, ...]:
    """Return the recipes of int8, those without float layers first.

    The default comes first, then ``products``, then layers kept in float.

    ``products`` quantises matrix products only; the residual additions of a transformer lose too
    much in int8.
    """
    if precision != "int8" or source.int8 is not None:
        return ()
    default: tuple[QuantizationRecipe, ...] = () if has_attention(source.graph) else ({},)
    products = [{"operations": "products", "ranges": r} for r in RANGES]
    return (*default, *products, *({"keep_float": count} for count in (2, 4, 8)))


def build(source: ConversionInput, precision: str, recipe: QuantizationRecipe) -> Artifact:
    """Build one variant; see converters.base."""
    tools = {name: version(name) for name in ("onnx", "onnxruntime", "torch")}
    if precision == "fp32":
        entry = graph_path(source.graph)
        return Artifact(entry, {entry: source.graph}, tools)
    entry = "onnxruntime-int8/model.onnx"
    if source.int8 is not None:
        return Artifact(entry, {entry: uint8_form(source.int8.graph)}, tools)
    return Artifact(entry, {entry: _quantised(source.graph, source.calibration, recipe)}, tools)


def _quantised(
    graph: bytes, calibration: npt.NDArray[np.uint8], recipe: QuantizationRecipe
) -> bytes:
    """Quantise convolutions, matrix products and the additions between them.

    Colour, normalisation and softmax stay float. Outputs of matrix products stay float too:
    onnxruntime runs those products with integer inputs and float outputs.
    """
    from onnxruntime.quantization import QuantType

    products = recipe.get("operations") == "products"
    return quantised(
        folded(graph),
        calibration,
        recipe,
        activation_type=QuantType.QUInt8,
        op_types_to_quantize=["Conv", "Gemm", "MatMul"]
        if products
        else ["Conv", "Gemm", "Add", "GlobalAveragePool"],
        extra_options={"OpTypesToExcludeOutputQuantization": ["Gemm", "MatMul"]},
    )
