"""OpenVINO: the exported graph in f32, bf16 or f16 arithmetic, and NNCF's int8."""

from __future__ import annotations

import logging
import tempfile
from importlib.metadata import version
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fer_edge.converters.base import Artifact, Source
from fer_edge.converters.onnxruntime import graph_path
from fer_edge.errors import ConversionError
from fer_edge.telemetry import import_without_telemetry

PRECISIONS = ("fp32", "fp16", "bf16", "int8")

_NEEDS = {"fp16": {"capability": "FP16"}, "bf16": {"capability": "BF16"}}


def build(source: Source, precision: str) -> Artifact:
    """The float precisions are one graph, the exported one: OpenVINO reads ONNX, and rounds to
    bf16 or f16 as it compiles. Only int8 is another network, and so another file."""
    tools = {name: version(name) for name in ("openvino", "torch", "onnx")}
    if precision != "int8":
        entry = graph_path(source.graph)
        return Artifact(entry, {entry: source.graph}, tools, needs=_NEEDS.get(precision, {}))
    files = _quantised(source.graph, source.calibration)
    return Artifact(next(iter(files)), files, {**tools, "nncf": version("nncf")})


def _quantised(graph: bytes, calibration: npt.NDArray[np.uint8]) -> dict[str, bytes]:
    openvino = import_without_telemetry("openvino")
    nncf = import_without_telemetry("nncf")
    nncf.set_log_level(logging.ERROR)
    model = openvino.Core().read_model(model=graph, weights=b"")
    try:
        quantised = nncf.quantize(
            model,
            nncf.Dataset(list(calibration[:, None])),
            subset_size=len(calibration),
            preset=nncf.QuantizationPreset.MIXED,
            fast_bias_correction=False,
            ignored_scope=nncf.IgnoredScope(names=_input_side(model), validate=False),
        )
    except Exception as error:  # nncf raises many kinds, none of them ours
        raise ConversionError(f"nncf could not quantise the graph: {error}") from error
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.xml")
        openvino.save_model(quantised, path, compress_to_fp16=False)
        return {
            "openvino-int8/model.xml": path.read_bytes(),
            "openvino-int8/model.bin": path.with_suffix(".bin").read_bytes(),
        }


def _input_side(model: object) -> list[str]:
    """Names of the operations before the first convolution: colour and normalisation."""
    names = []
    for node in model.get_ordered_ops():  # type: ignore[attr-defined]
        if node.get_type_name() in ("Convolution", "GroupConvolution"):
            break
        names.append(node.get_friendly_name())
    return names
