"""LiteRT: .tflite files, converted in an environment of their own.

``fer-edge setup-converter litert`` makes that environment. To run a file needs only
``ai-edge-litert``.
"""

from __future__ import annotations

import io

import numpy as np

from fer_edge.backends.litert import FACTS
from fer_edge.converters.base import Artifact, ConversionInput, QuantizationRecipe
from fer_edge.converters.litert_conversion.environment import (
    check_environment,
    convert,
    default_folder,
)
from fer_edge.converters.litert_conversion.forced_half import ForcedHalfSession
from fer_edge.converters.litert_conversion.program import INPUT, program
from fer_edge.converters.onnx_graph.inspect import has_attention, weighted_layers
from fer_edge.model_files.model_check import contract_of

PRECISIONS = FACTS.precisions

_plain: dict[str, bytes] = {}
"""Float .tflite file of the last network, which its precisions and recipes share."""


def recipes(source: ConversionInput, precision: str) -> tuple[QuantizationRecipe, ...]:
    """Return the recipes of an int8 that is calibrated after training.

    The default takes weights and ranges by their extremes. ``octav`` clips weights, and the last
    recipe keeps depthwise convolutions in float. With attention, ``dynamic`` comes first: layers
    with weights run in int8, with the ranges of each face, and the rest stays in float.
    """
    if precision != "int8" or source.int8 is not None:
        return ()
    octav: QuantizationRecipe = {"weights": "octav"}
    if has_attention(source.graph):
        return ({"ranges": "dynamic"}, octav)
    _, depthwise = weighted_layers(source.graph)
    return ({}, octav, *([{"keep_float": "depthwise"}] if depthwise else []))


def check_ready() -> None:
    """Raise MissingDependencyError if the conversion environment is not there."""
    check_environment(default_folder())


def build(source: ConversionInput, precision: str, recipe: QuantizationRecipe) -> Artifact:
    """Build one variant; see converters.base.

    - fp32: weights and arithmetic in float32.
    - fp16: weights in half precision, with a mark that lets XNNPACK compute in it.
    - int8: full-integer, with the checkpoint's own scales. Without them, litert-quantizer measures
      the ranges on the calibration faces.
    """
    check_ready()
    own = precision == "int8" and source.int8 is not None
    network = source.int8.checkpoint if own and source.int8 else source.checkpoint
    spec = network.spec
    job = {
        "precision": precision,
        "own_scales": own,
        "recipe": dict(recipe),
        "size_px": spec.input.size_px,
        "input": INPUT,
        "contract": contract_of(
            spec.labels, network.temperature, spec.input.size_px, network.model.embedding_dim
        ),
    }
    key = network.network_sha256
    plain = _plain.get(key) if network.sha256 else None
    files = {"plain.tflite": plain} if plain else {"program.pt2": program(network)}
    if precision == "int8" and not own:
        faces = io.BytesIO()
        np.save(faces, source.calibration)
        files["faces.npy"] = faces.getvalue()
    converted = convert(default_folder(), job, files)
    _plain.clear()
    _plain[key] = converted.plain
    model, answer = converted.model, converted.answer
    entry = f"litert-{precision}/model.tflite"
    tools = {"litert": answer["tools"]["litert-torch"], **answer["tools"]}
    if precision == "int8":
        tools |= {} if own else {"litert-quantizer": answer["tools"]["litert-quantizer"]}
    return Artifact(
        entry,
        {entry: model},
        tools,
        needs={} if answer["resizable"] else {"faces": 1},
        reference_session=(lambda: ForcedHalfSession(model)) if precision == "fp16" else None,
        verified_by="xnnpack_forced_fp16",
    )
