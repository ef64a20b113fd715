"""int8 forms of a graph: explicit Q/DQ pairs, calibrated on faces.

Colour, normalisation and the softmax stay in float32; the graph takes uint8 and returns float32.
"""

from __future__ import annotations

import contextlib
import logging
import math
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper

from fer_edge.converters.base import QuantizationRecipe
from fer_edge.converters.onnx_graph.export import INPUT
from fer_edge.converters.onnx_graph.fold import folded
from fer_edge.converters.onnx_graph.inspect import (
    WEIGHTED,
    before_first_convolution,
    check_int8_layers,
    int8_layers,
    products_of_activations,
)
from fer_edge.errors import ConversionError

RANGES = {"minmax": "MinMax", "percentile": "Percentile", "entropy": "Entropy"}
"""Estimators of activation ranges, and onnxruntime's names for them. ``minmax`` keeps every value;
``percentile`` (99.999) and ``entropy`` drop outliers, which in transformers are a hundred times the
other values."""

_HELD_BYTES = 2 << 30
"""Bytes of activations that a histogram calibration may keep."""


def quantised(
    graph: bytes, faces: npt.NDArray[np.uint8], recipe: QuantizationRecipe, **settings: Any
) -> bytes:
    """Quantise a folded graph to Q/DQ form with int8 per-channel weights.

    Products of two activations stay float: attention loses more by rounding than it gains. With
    both sides rounded, onnxruntime 1.31 turns the softmax between them into QLinearSoftmax, whose
    answers are noise (16 % of the decisions where 96 % agree without).

    Args:
        graph: Folded ONNX.
        faces: Calibration faces, uint8 ``[N, S, S, 3]`` BGR.
        recipe: ``ranges``, one of RANGES, and ``keep_float``, the number of layers to keep in
            float, those that lose most by rounding first.
        settings: Arguments of onnxruntime's ``quantize_static``.

    Returns:
        ONNX in Q/DQ form.

    Raises:
        ConversionError: onnxruntime fails, or the recipe keeps half of the layers in float.
    """
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

    logging.getLogger("onnxruntime.quantization").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as folder:
        source, result = Path(folder, "folded.onnx"), Path(folder, "int8.onnx")
        source.write_bytes(graph)
        model = onnx.load_from_string(graph)
        spared = before_first_convolution(model) + products_of_activations(model)
        ranges = recipe.get("ranges", "minmax")

        def run(exclude: list[str], sample: npt.NDArray[np.uint8]) -> None:
            quantize_static(
                str(source),
                str(result),
                _Faces(sample),
                quant_format=QuantFormat.QDQ,
                weight_type=QuantType.QInt8,
                per_channel=True,
                nodes_to_exclude=exclude,
                calibrate_method=CalibrationMethod[RANGES[ranges]],
                **settings,
            )

        try:
            # The quantiser prints, and standard output belongs to the command's result.
            with contextlib.redirect_stdout(None):
                sample = faces
                if ranges != "minmax":
                    sample = histogram_sample(source, settings["op_types_to_quantize"], faces)
                run(spared, sample)
                if count := recipe.get("keep_float", 0):
                    run([*spared, *_worst_layers(source, result, faces)[:count]], sample)
        except Exception as error:  # the quantiser raises many kinds, none of them ours
            raise ConversionError(f"onnxruntime could not quantise the graph: {error}") from error
        check_int8_layers(*int8_layers(onnx.load(str(result))))
        return result.read_bytes()


def histogram_sample(
    graph: Path, operations: Sequence[str], faces: npt.NDArray[np.uint8]
) -> npt.NDArray[np.uint8]:
    """Subsample the faces to bound the memory of histogram calibration.

    The activations of all faces stay under 2 GiB.

    onnxruntime keeps the activations of every face until it makes their histograms: 7 GB of 300
    faces in MobileNetV2 at 128 px. Shapes are not all known before a run, so one face is run.
    """
    from onnxruntime.quantization import qdq_loss_debug as debug

    with_values = str(graph.with_name("values.onnx"))
    debug.modify_model_output_intermediate_tensors(str(graph), with_values, operations)
    values = debug.collect_activations(with_values, _Faces(faces[:1]))
    a_face = sum(array.nbytes for arrays in values.values() for array in arrays)
    return faces[:: math.ceil(len(faces) / max(_HELD_BYTES // max(a_face, 1), 1))]


def _worst_layers(source: Path, quantised: Path, faces: npt.NDArray[np.uint8]) -> list[str]:
    """Return the names of the quantised layers, the largest loss of their input first.

    The loss is the signal-to-noise ratio of an activation before and after its Q/DQ pair. Faces run
    one at a time: the activations of all at once took 18 GB in Swin-Base.
    """
    import onnxruntime

    model = onnx.load(str(quantised))
    weights = {weight.name for weight in model.graph.initializer}
    rounded = {n.input[0]: n.output[0] for n in model.graph.node if n.op_type == "DequantizeLinear"}
    pairs = {
        node.input[0]: rounded[node.output[0]]
        for node in model.graph.node
        if node.op_type == "QuantizeLinear" and node.input[0] not in weights
    }
    known = {value.name for value in model.graph.output}
    names = [name for pair in pairs.items() for name in pair]
    model.graph.output.extend(
        helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
        for name in names
        if name not in known
    )
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    signal, noise = dict.fromkeys(pairs, 0.0), dict.fromkeys(pairs, 1e-30)
    for face in _Faces(faces[:16]):
        values = dict(zip(names, session.run(names, dict(face)), strict=True))
        for before, after in pairs.items():
            signal[before] += float(np.square(values[before], dtype=np.float64).sum())
            lost = np.subtract(values[before], values[after], dtype=np.float64)
            noise[before] += float(np.square(lost).sum())
    # An output of the graph keeps its name after the pair, every other tensor before it.
    ratio = {}
    for before, after in pairs.items():
        ratio[before] = ratio[after] = signal[before] / noise[before]
    layers = [
        (min(ratio[name] for name in node.input if name in ratio), node.name)
        for node in onnx.load(str(source)).graph.node
        if node.op_type in WEIGHTED and any(name in ratio for name in node.input)
    ]
    return [name for _, name in sorted(layers)]


def symmetric_int8(graph: bytes, faces: npt.NDArray[np.uint8], recipe: QuantizationRecipe) -> bytes:
    """Quantise a graph with zero points of 0.

    TensorRT takes no others.

    Biases stay float: int32 biases are ONNX Runtime's own form. Layer outputs stay float too:
    TensorRT fuses the next layer's QuantizeLinear where there is one.

    Args:
        graph: Exported ONNX.
        faces: Calibration faces, uint8 ``[N, S, S, 3]`` BGR.
        recipe: As in ``quantised``.

    Returns:
        ONNX in Q/DQ form.

    Raises:
        ConversionError: onnxruntime fails, or the recipe keeps half of the layers in float.
    """
    from onnxruntime.quantization import QuantType

    return quantised(
        folded(graph),
        faces,
        recipe,
        activation_type=QuantType.QInt8,
        op_types_to_quantize=list(WEIGHTED),
        extra_options={
            "ActivationSymmetric": True,
            "WeightSymmetric": True,
            "QuantizeBias": False,
            "OpTypesToExcludeOutputQuantization": list(WEIGHTED),
        },
    )


def calibration_reader(faces: npt.NDArray[np.uint8]) -> Any:
    """Return onnxruntime's CalibrationDataReader of faces, one at a time."""
    return _Faces(faces)


class _Faces:
    def __init__(self, faces: npt.NDArray[np.uint8]) -> None:
        self._faces = iter([{INPUT: face} for face in faces[:, None]])

    def __iter__(self) -> Iterator[Mapping[str, Any]]:
        return self._faces

    def get_next(self) -> Mapping[str, Any] | None:
        return next(self._faces, None)
