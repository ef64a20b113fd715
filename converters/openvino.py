"""OpenVINO: the exported graph in f32, bf16, f16, and NNCF int8."""

from __future__ import annotations

import contextlib
import logging
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fer_edge.backends.openvino import FACTS, shared_core
from fer_edge.converters.base import ENOUGH, Artifact, ConversionInput, QuantizationRecipe
from fer_edge.converters.onnx_graph.export import graph_path
from fer_edge.converters.onnx_graph.inspect import (
    check_int8_layers,
    has_attention,
    weighted_layers,
)
from fer_edge.errors import ConversionError
from fer_edge.telemetry import import_without_telemetry

PRECISIONS = FACTS.precisions

_NEEDS = {"fp16": {"capability": "FP16"}, "bf16": {"capability": "BF16"}}

_RANGES = {"mean": "MEAN_MINMAX", "quantile": "MEAN_QUANTILE", "median": "MEDIAN_MINMAX"}
"""Estimators of activation ranges, and NNCF's names for them."""

_LAYERS = ("Convolution", "GroupConvolution", "MatMul")
_FROM_INT8 = {"Convert", "Multiply", "Subtract", "Reshape", "Transpose", "Split", "VariadicSplit"}
"""Operations between int8 numbers and the layer that reads them."""

_MOST_LAYERS = 40
"""Largest number of layers for which NNCF may keep layers in float one by one. It compiles the
network again for each layer, and again after each that it keeps in float."""


def recipes(source: ConversionInput, precision: str) -> tuple[QuantizationRecipe, ...]:
    """Return the recipes of a precision.

    Float: the default, plus ``fusion=off`` for networks with attention (OpenVINO miscompiles some).
    int8: for transformers the sweep of NNCF's own regression file, SmoothQuant off and at three
    strengths; for all networks, ranges that drop outliers, and layers kept in float.
    """
    if precision != "int8":
        return ({}, {"fusion": "off"}) if has_attention(source.graph) else ()
    if source.int8 is not None:
        return ()
    layers, depthwise = weighted_layers(source.graph)
    keep_float: tuple[QuantizationRecipe, ...] = (
        ({"keep_float": "until accurate"},) if layers <= _MOST_LAYERS else ()
    )
    if depthwise:
        keep_float = ({"keep_float": "depthwise"}, *keep_float)
    ranges = tuple({"ranges": name} for name in _RANGES)
    if has_attention(source.graph):
        smooth = tuple({"transformer": True, "smooth_quant": a} for a in (-1.0, 0.15, 0.5, 0.95))
        return (*smooth, *ranges, *keep_float)
    return ({}, *ranges, *keep_float)


def build(source: ConversionInput, precision: str, recipe: QuantizationRecipe) -> Artifact:
    """Build one variant; see converters.base.

    The float precisions share the exported graph: OpenVINO reads ONNX and rounds to bf16 or f16
    when it compiles. Only int8 has a file of its own.
    """
    tools = {name: version(name) for name in ("openvino", "torch", "onnx")}
    if precision != "int8":
        entry = graph_path(source.graph)
        needs = {**_NEEDS.get(precision, {}), **recipe}
        return Artifact(entry, {entry: source.graph}, tools, needs=needs)
    if source.int8 is not None:
        entry = graph_path(source.int8.graph)
        return Artifact(entry, {entry: source.int8.graph}, tools)
    # NNCF makes Cores of its own. They may replace the signal stack of a thread that ends, never
    # that of the main thread: see shared_core.
    with ThreadPoolExecutor(1) as thread:
        files = thread.submit(_quantised, source.graph, source.calibration, recipe).result()
    return Artifact(next(iter(files)), files, {**tools, "nncf": version("nncf")})


def _quantised(
    graph: bytes, calibration: npt.NDArray[np.uint8], recipe: QuantizationRecipe
) -> dict[str, bytes]:
    openvino = import_without_telemetry("openvino")
    nncf = import_without_telemetry("nncf")
    from nncf.quantization.range_estimator import RangeEstimatorParametersSet

    nncf.set_log_level(logging.ERROR)
    model = shared_core().read_model(model=graph, weights=b"")
    faces = nncf.Dataset(list(calibration[:, None]))
    advanced = nncf.AdvancedQuantizationParameters()
    if "smooth_quant" in recipe:
        advanced.smooth_quant_alphas.matmul = recipe["smooth_quant"]
    if "ranges" in recipe:
        advanced.activations_range_estimator_params = getattr(
            RangeEstimatorParametersSet, _RANGES[recipe["ranges"]]
        )
    settings = {
        "subset_size": len(calibration),
        "preset": nncf.QuantizationPreset.MIXED,
        # Bias correction layer by layer helps EfficientNets much, transformers not (decision 51).
        "fast_bias_correction": bool(recipe.get("transformer")),
        "model_type": nncf.ModelType.TRANSFORMER if recipe.get("transformer") else None,
        "ignored_scope": nncf.IgnoredScope(
            names=_input_side(model),
            types=["GroupConvolution"] if recipe.get("keep_float") == "depthwise" else [],
            validate=False,
        ),
    }
    try:
        # NNCF prints its progress on standard output, which belongs to --json.
        with _room_to_recurse(), contextlib.redirect_stdout(sys.stderr):
            if recipe.get("keep_float") == "until accurate":
                quantised = nncf.quantize_with_accuracy_control(
                    model,
                    calibration_dataset=faces,
                    validation_dataset=nncf.Dataset(list(calibration[:, None])),
                    validation_fn=_Agreement(model),
                    max_drop=1 - ENOUGH,
                    advanced_quantization_parameters=advanced,
                    **settings,
                )
            else:
                quantised = nncf.quantize(model, faces, advanced_parameters=advanced, **settings)
    except Exception as error:  # nncf raises many kinds, none of them ours
        raise ConversionError(f"nncf could not quantise the graph: {error}") from error
    check_int8_layers(*_int8_layers(quantised))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.xml")
        openvino.save_model(quantised, path, compress_to_fp16=False)
        return {
            "openvino-int8/model.xml": path.read_bytes(),
            "openvino-int8/model.bin": path.with_suffix(".bin").read_bytes(),
        }


def _int8_layers(model: Any) -> tuple[int, int]:
    """Count the convolutions and matrix products whose weight is rounded, and all of them."""
    layers = [node for node in model.get_ordered_ops() if node.get_type_name() in _LAYERS]
    return sum(_is_rounded(node.input_value(1).get_node()) for node in layers), len(layers)


def _is_rounded(node: Any) -> bool:
    """Return True if a tensor comes from a FakeQuantize or from int8 weights."""
    while node.get_type_name() in _FROM_INT8:
        node = node.input_value(0).get_node()
    kind = node.get_type_name()
    return kind == "FakeQuantize" or (
        kind == "Constant" and node.get_element_type().to_string() in ("i8", "u8")
    )


@contextlib.contextmanager
def _room_to_recurse() -> Iterator[None]:
    """Raise the recursion limit for NNCF's search of the next layer with a bias.

    Past the float layers of EfficientNetV2-S it recurses deeper than Python's default of 1,000.
    """
    default = sys.getrecursionlimit()
    sys.setrecursionlimit(20_000)
    try:
        yield
    finally:
        sys.setrecursionlimit(default)


class _Agreement:
    """Validation function of NNCF: share of decisions equal to the float network's, and each one.

    NNCF calls it while it keeps layers in float.
    """

    def __init__(self, model: Any) -> None:
        self._float = shared_core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        self._truth: dict[bytes, int] = {}

    def __call__(self, compiled: Any, faces: Any) -> tuple[float, list[float]]:
        same = []
        for face in faces:  # NNCF also passes parts of the set
            key = face.tobytes()
            if key not in self._truth:
                self._truth[key] = int(self._float(face)[0].argmax())
            same.append(float(int(compiled(face)[0].argmax()) == self._truth[key]))
        return sum(same) / len(same), same


def _input_side(model: object) -> list[str]:
    """Return the names of the operations before the first convolution of the image.

    They are colour and normalisation. A convolution of constants may be among them; see
    onnx_graph.inspect.first_convolution.
    """
    names: list[str] = []
    of_image: set[str] = set()
    for node in model.get_ordered_ops():  # type: ignore[attr-defined]
        kind, name = node.get_type_name(), node.get_friendly_name()
        inputs = [value.get_node().get_friendly_name() for value in node.input_values()]
        if kind in ("Convolution", "GroupConvolution") and inputs[0] in of_image:
            break
        names.append(name)
        if kind == "Parameter" or (kind != "ShapeOf" and not of_image.isdisjoint(inputs)):
            of_image.add(name)
    return names
