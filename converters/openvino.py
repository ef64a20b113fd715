"""OpenVINO: the exported graph in f32, bf16 or f16 arithmetic, and NNCF's int8."""

from __future__ import annotations

import contextlib
import logging
import sys
import tempfile
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fer_edge.backends.openvino import FACTS
from fer_edge.converters.base import Artifact, ConversionInput, QuantizationRecipe
from fer_edge.converters.onnx_graph.precision import check_rounded, has_attention, weighted_layers
from fer_edge.converters.onnxruntime import graph_path
from fer_edge.converters.pipeline.recipe_search import ENOUGH
from fer_edge.errors import ConversionError
from fer_edge.telemetry import import_without_telemetry

PRECISIONS = FACTS.precisions

_NEEDS = {"fp16": {"capability": "FP16"}, "bf16": {"capability": "BF16"}}


_RANGES = {"mean": "MEAN_MINMAX", "quantile": "MEAN_QUANTILE", "median": "MEDIAN_MINMAX"}
"""How activation ranges are estimated from the calibration faces: NNCF's names for them."""


_MOST_LAYERS = 40
"""Layers up to which NNCF may give them back to float one by one: it compiles the network anew for
each, and again after each that it gives back."""


def recipes(source: ConversionInput, precision: str) -> tuple[QuantizationRecipe, ...]:
    """For transformers the sweep of NNCF's own regression file: SmoothQuant off and at three
    strengths; for all, ranges that let go of outliers, and layers given back to float. In float
    there is one way, and for transformers another if OpenVINO fuses something wrongly."""
    if precision != "int8":
        return ({}, {"fusion": "off"}) if has_attention(source.graph) else ()
    layers, depthwise = weighted_layers(source.graph)
    revert: tuple[QuantizationRecipe, ...] = (
        ({"keep_float": "until accurate"},) if layers <= _MOST_LAYERS else ()
    )
    if depthwise:
        revert = ({"keep_float": "depthwise"}, *revert)
    ranges = tuple({"ranges": name} for name in _RANGES)
    if has_attention(source.graph):
        smooth = tuple({"transformer": True, "smooth_quant": a} for a in (-1.0, 0.15, 0.5, 0.95))
        return (*smooth, *ranges, *revert)
    return ({}, *ranges, *revert)


def build(source: ConversionInput, precision: str, recipe: QuantizationRecipe) -> Artifact:
    """The float precisions are one graph, the exported one: OpenVINO reads ONNX, and rounds to
    bf16 or f16 as it compiles. Only int8 is another network, and so another file."""
    tools = {name: version(name) for name in ("openvino", "torch", "onnx")}
    if precision != "int8":
        entry = graph_path(source.graph)
        needs = {**_NEEDS.get(precision, {}), **recipe}
        return Artifact(entry, {entry: source.graph}, tools, needs=needs)
    files = _quantised(source.graph, source.calibration, recipe)
    return Artifact(next(iter(files)), files, {**tools, "nncf": version("nncf")})


def _quantised(
    graph: bytes, calibration: npt.NDArray[np.uint8], recipe: QuantizationRecipe
) -> dict[str, bytes]:
    openvino = import_without_telemetry("openvino")
    nncf = import_without_telemetry("nncf")
    from nncf.quantization.range_estimator import RangeEstimatorParametersSet

    nncf.set_log_level(logging.ERROR)
    model = openvino.Core().read_model(model=graph, weights=b"")
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
        # Layer by layer it is worth much to EfficientNets, nothing to transformers (decision 51).
        "fast_bias_correction": bool(recipe.get("transformer")),
        "model_type": nncf.ModelType.TRANSFORMER if recipe.get("transformer") else None,
        "ignored_scope": nncf.IgnoredScope(
            names=_input_side(model),
            types=["GroupConvolution"] if recipe.get("keep_float") == "depthwise" else [],
            validate=False,
        ),
    }
    try:
        # Its progress goes to standard output, where --json is.
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
    check_rounded(sum(node.get_type_name() == "FakeQuantize" for node in quantised.get_ops()))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.xml")
        openvino.save_model(quantised, path, compress_to_fp16=False)
        return {
            "openvino-int8/model.xml": path.read_bytes(),
            "openvino-int8/model.bin": path.with_suffix(".bin").read_bytes(),
        }


@contextlib.contextmanager
def _room_to_recurse() -> Iterator[None]:
    """NNCF looks for the next layer with a bias by recursion: past the float layers of
    EfficientNetV2-S that is deeper than Python's usual 1,000 calls."""
    usual = sys.getrecursionlimit()
    sys.setrecursionlimit(20_000)
    try:
        yield
    finally:
        sys.setrecursionlimit(usual)


class _Agreement:
    """What NNCF asks of a network while it gives layers back to float: the share of decisions
    that are those of the float network, and whether each one is."""

    def __init__(self, model: Any) -> None:
        core = import_without_telemetry("openvino").Core()
        self._float = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        self._truth: dict[bytes, int] = {}

    def __call__(self, compiled: Any, faces: Any) -> tuple[float, list[float]]:
        same = []
        for face in faces:  # NNCF asks about parts of the set as well
            key = face.tobytes()
            if key not in self._truth:
                self._truth[key] = int(self._float(face)[0].argmax())
            same.append(float(int(compiled(face)[0].argmax()) == self._truth[key]))
        return sum(same) / len(same), same


def _input_side(model: object) -> list[str]:
    """Names of the operations before the first convolution: colour and normalisation."""
    names = []
    for node in model.get_ordered_ops():  # type: ignore[attr-defined]
        if node.get_type_name() in ("Convolution", "GroupConvolution"):
            break
        names.append(node.get_friendly_name())
    return names
