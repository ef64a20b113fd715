"""ONNX Runtime: the exported graph itself, and a statically quantised one."""

from __future__ import annotations

import hashlib
import logging
from importlib.metadata import version

import numpy as np
import numpy.typing as npt

from fer_edge.backends.onnxruntime import FACTS
from fer_edge.converters.base import Artifact, ConversionInput, QuantizationRecipe
from fer_edge.converters.onnx_graph.precision import RANGES, folded, has_attention, quantised

PRECISIONS = FACTS.precisions


def graph_path(graph: bytes) -> str:
    """Where the exported graph lies in a bundle, for every variant that runs it as it is.

    Named by its content, so that a variant converted later never changes one that passed its gate.
    """
    return f"graph-{hashlib.sha256(graph).hexdigest()[:12]}/model.onnx"


def recipes(source: ConversionInput, precision: str) -> tuple[QuantizationRecipe, ...]:
    """Sums stay float in ``products``: a transformer's residual stream does not bear rounding, and
    all of its arithmetic is in products."""
    if precision != "int8":
        return ()
    usual: tuple[QuantizationRecipe, ...] = () if has_attention(source.graph) else ({},)
    products = [{"operations": "products", "ranges": r} for r in RANGES]
    return (*usual, *products, *({"keep_float": count} for count in (2, 4, 8)))


def build(source: ConversionInput, precision: str, recipe: QuantizationRecipe) -> Artifact:
    tools = {name: version(name) for name in ("onnx", "onnxruntime", "torch")}
    if precision == "fp32":
        entry = graph_path(source.graph)
        return Artifact(entry, {entry: source.graph}, tools)
    entry = "onnxruntime-int8/model.onnx"
    return Artifact(entry, {entry: _quantised(source.graph, source.calibration, recipe)}, tools)


def _quantised(
    graph: bytes, calibration: npt.NDArray[np.uint8], recipe: QuantizationRecipe
) -> bytes:
    """Only where the arithmetic is: convolutions, matrix products, and the sums between them.
    Colour, normalisation and softmax stay in float, and what a matrix product gives: onnxruntime
    runs those as integers in, float out."""
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


logging.getLogger("onnxruntime.quantization").setLevel(logging.ERROR)
