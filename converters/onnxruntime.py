"""ONNX Runtime: the exported graph itself, and a statically quantised one."""

from __future__ import annotations

import hashlib
import logging
from importlib.metadata import version

import numpy as np
import numpy.typing as npt

from fer_edge.converters.base import Artifact, Source
from fer_edge.converters.typed import folded, quantised

PRECISIONS = ("fp32", "int8")


def graph_path(graph: bytes) -> str:
    """Where the exported graph lies in a bundle, for every variant that runs it as it is.

    Named by its content, so that a variant converted later never changes one that passed its gate.
    """
    return f"graph-{hashlib.sha256(graph).hexdigest()[:12]}/model.onnx"


def build(source: Source, precision: str) -> Artifact:
    tools = {name: version(name) for name in ("onnx", "onnxruntime", "torch")}
    if precision == "fp32":
        entry = graph_path(source.graph)
        return Artifact(entry, {entry: source.graph}, tools)
    entry = "onnxruntime-int8/model.onnx"
    return Artifact(entry, {entry: _quantised(source.graph, source.calibration)}, tools)


def _quantised(graph: bytes, calibration: npt.NDArray[np.uint8]) -> bytes:
    """Only where the arithmetic is: convolutions and matrix products. Colour, normalisation and
    softmax stay in float."""
    from onnxruntime.quantization import QuantType

    return quantised(
        folded(graph),
        calibration,
        activation_type=QuantType.QUInt8,
        op_types_to_quantize=["Conv", "Gemm", "Add", "GlobalAveragePool"],
    )


logging.getLogger("onnxruntime.quantization").setLevel(logging.ERROR)
