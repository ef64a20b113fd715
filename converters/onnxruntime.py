"""ONNX Runtime: the exported graph itself, and a statically quantised one."""

from __future__ import annotations

import hashlib
import logging
import tempfile
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from fer_edge.converters.base import Artifact, Source
from fer_edge.converters.export import INPUT
from fer_edge.errors import ConversionError

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
    """Q/DQ form, int8 per-channel weights; only where the arithmetic is: convolutions and
    matrix products. Colour, normalisation and softmax stay in float."""
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with tempfile.TemporaryDirectory() as folder:
        given, prepared, result = (Path(folder, f"{n}.onnx") for n in ("given", "prepared", "int8"))
        given.write_bytes(graph)
        try:
            quant_pre_process(str(given), str(prepared), skip_symbolic_shape=True)
            quantize_static(
                str(prepared),
                str(result),
                _Faces(calibration),
                quant_format=QuantFormat.QDQ,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                per_channel=True,
                op_types_to_quantize=["Conv", "Gemm", "Add", "GlobalAveragePool"],
                nodes_to_exclude=_before_first_convolution(onnx.load(str(prepared))),
            )
        except Exception as error:  # the quantiser raises many kinds, none of them ours
            raise ConversionError(f"onnxruntime could not quantise the graph: {error}") from error
        return result.read_bytes()


def _before_first_convolution(model: onnx.ModelProto) -> list[str]:
    names = []
    for node in model.graph.node:
        if node.op_type == "Conv":
            break
        names.append(node.name)
    return names


class _Faces:
    """onnxruntime's CalibrationDataReader: one face at a time."""

    def __init__(self, faces: npt.NDArray[np.uint8]) -> None:
        self._faces: Iterator[npt.NDArray[np.uint8]] = iter(faces[:, None])

    def get_next(self) -> dict[str, Any] | None:
        face = next(self._faces, None)
        return None if face is None else {INPUT: face}


logging.getLogger("onnxruntime.quantization").setLevel(logging.ERROR)
