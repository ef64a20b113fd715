"""Core ML: ML Programs for Apple's chips, written and verified without one.

A package takes one picture and returns the label, the probabilities by label and the embedding.
``coreml_evaluator`` runs the saved files to verify them.
"""

from __future__ import annotations

import contextlib
import functools
import io
import json
import uuid
import warnings
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from fer_edge.backends.coreml import EMBEDDING, FACTS, LABEL, PICTURE, PROBABILITIES, coremltools
from fer_edge.converters.base import Artifact, ConversionInput, QuantizationRecipe
from fer_edge.converters.coreml_evaluator.program import Program, ProgramSession
from fer_edge.errors import ConversionError, FerEdgeError
from fer_edge.training.checkpoint import Checkpoint
from fer_edge.training.deploy import PlanarDeployModule
from fer_edge.training.int8_weights import rounded_weight
from fer_edge.training.models.quantize_operation import OPERATION, PER_TENSOR

PRECISIONS = FACTS.precisions

_TENSOR = "softmax"
"""Name of the probabilities before ``classify`` adds labels; not an output."""

NEEDS_MACOS = "14.0"
"""Oldest macOS with ``quantize`` and ``dequantize``; all precisions use its operation set."""


def recipes(source: ConversionInput, precision: str) -> tuple[QuantizationRecipe, ...]:
    """Return no recipes: each precision has one way."""
    return ()


def build(source: ConversionInput, precision: str, recipe: QuantizationRecipe) -> Artifact:
    """Build one variant; see converters.base.

    - fp32, fp16: weights and arithmetic in that precision.
    - int8: weights of one byte, with a scale per channel; fp16 arithmetic.
    - pal6: weights of 6 bits from a palette; fp16 arithmetic.
    - w8a8: weights and activations of one byte.

    A package takes one picture: Core ML's image inputs have no batch dimension, and a flexible
    shape would not run on the Neural Engine. Core ML batches the calls (see backends/coreml.py), so
    ``source.batch_sizes`` has no effect.
    """
    coremltools()
    tools = {name: version(name) for name in ("coremltools", "torch")}
    try:
        with _quiet():
            own = source.int8 is not None and precision == "int8"
            network = source.int8.checkpoint if own and source.int8 else source.checkpoint
            model = _converted(network, half=precision != "fp32")
            if precision == "w8a8":
                model = _activations_in_bytes(model, source.calibration)
            if precision in ("int8", "w8a8") and not own:
                model = _weights_in_bytes(model)
            elif precision == "pal6":
                model = _weights_from_palettes(model)
            files = _files(model, precision, source.checkpoint)
    except FerEdgeError:
        raise
    except Exception as error:  # coremltools and torch raise many kinds, none of them ours
        raise ConversionError(
            f"coremltools could not convert {source.checkpoint.spec.backbone} to {precision}: "
            f"{error}"
        ) from error
    _, program, weights = files
    return Artifact(
        program,
        files,
        {"coreml": tools["coremltools"], **tools},
        needs={"macos": NEEDS_MACOS},
        reference_session=lambda: ProgramSession(files[program], files[weights]),
        verified_by="coreml_evaluator",
    )


def _converted(checkpoint: Checkpoint, *, half: bool) -> Any:
    ct = coremltools()
    _mend_operations()
    size = checkpoint.spec.input.size_px
    module = PlanarDeployModule(checkpoint)
    exported = torch.export.export(module, (torch.zeros(1, 3, size, size),))
    return ct.convert(
        exported.run_decompositions({}),
        # ImageType has one scale for three channels and no std, so the network normalises.
        inputs=[ct.ImageType(PICTURE, (1, 3, size, size), color_layout=ct.colorlayout.RGB)],
        outputs=[ct.TensorType(n, dtype=np.float32) for n in (_TENSOR, EMBEDDING)],
        compute_precision=ct.precision.FLOAT16 if half else ct.precision.FLOAT32,
        minimum_deployment_target=ct.target.macOS14,
        skip_model_load=True,
    )


@functools.cache
def _mend_operations() -> None:
    """Register torch operations that coremltools 9.0 lacks or converts wrongly."""
    coremltools()
    from coremltools.converters.mil.frontend.torch import ops
    from coremltools.converters.mil.frontend.torch.torch_op_registry import register_torch_op

    def alias(context: Any, node: Any) -> None:
        """Pass a tensor through; Swin's export gives tensors a second name."""
        context.add(ops.mb.identity(x=context[node.inputs[0]], name=node.name))

    def gelu(context: Any, node: Any) -> None:
        """Read ``approximate`` by name, as the exported graph states it.

        coremltools reads it by position, so every gelu became the exact one.
        """
        tanh = (node.kwinputs or {}).get("approximate") == ("tanh",)
        mode = "TANH_APPROXIMATION" if tanh else "EXACT"
        context.add(ops.mb.gelu(x=context[node.inputs[0]], mode=mode, name=node.name))

    def elu(context: Any, node: Any) -> None:
        """Read both scales too, which SELU and CELU in place have; coremltools loses them."""
        x, alpha, scale, inner = (*ops._get_inputs(context, node), 1.0, 1.0, 1.0)[:4]
        add_elu(context, node, x, number(alpha), number(scale), number(inner))

    def celu(context: Any, node: Any) -> None:
        x, alpha = (*ops._get_inputs(context, node), 1.0)[:2]
        add_elu(context, node, x, number(alpha), 1.0, 1 / number(alpha))

    def number(value: Any) -> float:
        return float(getattr(value, "val", value))

    def add_elu(context: Any, node: Any, x: Any, alpha: float, scale: float, inner: float) -> None:
        """Add ``scale * x`` above zero, and ``scale * alpha * (exp(inner * x) - 1)`` below."""
        x = ops.mb.mul(x=x, y=np.float32(inner))
        x = ops.mb.elu(x=x, alpha=np.float32(alpha * inner))
        context.add(ops.mb.mul(x=x, y=np.float32(scale / inner), name=node.name))

    def quantize_dequantize(context: Any, node: Any) -> None:
        """Write the rounding of a quantised checkpoint with its own scales."""
        x, scale = (context[name] for name in node.inputs[:2])
        axis = int(node.inputs[2])
        if axis == PER_TENSOR:
            pair = {"scale": scale.val, "zero_point": np.int8(0)}
            rounded = ops.mb.quantize(input=x, output_dtype="int8", **pair)
            context.add(ops.mb.dequantize(input=rounded, name=node.name, **pair))
            return
        steps = rounded_weight(x.val, scale.val, axis)
        context.add(
            ops.mb.constexpr_affine_dequantize(
                quantized_data=steps,
                scale=scale.val,
                zero_point=np.zeros(len(scale.val), np.int8),
                axis=np.int32(axis),
                name=node.name,
            )
        )

    for operation in (alias, celu, elu, gelu):
        register_torch_op(operation, override=True)
    register_torch_op(quantize_dequantize, torch_alias=[OPERATION.name()], override=True)  # type: ignore[no-untyped-call]


def _weights_in_bytes(model: Any) -> Any:
    from coremltools.optimize import coreml as cto

    config = cto.OpLinearQuantizerConfig(mode="linear_symmetric", granularity="per_channel")
    return cto.linear_quantize_weights(model, cto.OptimizationConfig(config))


def _weights_from_palettes(model: Any) -> Any:
    from coremltools.optimize import coreml as cto

    config = cto.OpPalettizerConfig(mode="kmeans", nbits=6)
    return cto.palettize_weights(model, cto.OptimizationConfig(config))


def _activations_in_bytes(model: Any, calibration: npt.NDArray[np.uint8]) -> Any:
    """Run coremltools' passes for activations with ranges that the evaluator measured.

    coremltools' own function runs Core ML, so it needs a Mac. Its torch quantiser returns quantised
    tensors, which torch.export cannot export.
    """
    from coremltools.converters.mil.mil.passes.graph_pass import PassOption
    from coremltools.converters.mil.mil.passes.pass_registry import PASS_REGISTRY
    from coremltools.models.utils import _apply_graph_pass
    from coremltools.optimize import coreml as cto

    program = Program(model.get_spec().SerializeToString(), _weights(model))
    ranges: dict[str, dict[str, float]] = {}

    def observe(name: str, value: torch.Tensor) -> None:
        # Every range includes the zero of paddings. Its 256 steps are not below fp16's smallest
        # normal number, 2**-14.
        seen = ranges.setdefault(name, {"rmin": 0.0, "rmax": 255 * 2.0**-14})
        seen["rmin"] = min(seen["rmin"], float(value.min()))
        seen["rmax"] = max(seen["rmax"], float(value.max()))

    for face in calibration:
        program(face, observe)
    config = cto.OptimizationConfig(cto.OpLinearQuantizerConfig(mode="linear"))
    passes = [
        PASS_REGISTRY[f"compression::insert_{side}_quantize_dequantize_pair"]
        for side in ("prefix", "suffix")
    ]
    for each in passes:
        each.set_options([PassOption("config", config), PassOption("activation_stats", ranges)])
    passes.append(PASS_REGISTRY["common::dequantize_quantize_pair_elimination"])
    return _apply_graph_pass(model, passes, spec_version=model.get_spec().specificationVersion)


def _weights(model: Any) -> bytes:
    return Path(model.weights_dir, "weight.bin").read_bytes()


def _files(model: Any, precision: str, checkpoint: Checkpoint) -> dict[str, bytes]:
    """Return the package's three files in one flat folder; a bundle has no nested folders.

    backends/coreml.py restores their places in the package: Manifest.json,
    Data/com.apple.CoreML/model.mlmodel and Data/com.apple.CoreML/weights/weight.bin.
    """
    spec = model.get_spec()
    _classify(spec, checkpoint.spec.labels)
    _describe(spec.description, precision, checkpoint)
    folder = f"coreml-{precision}"
    return {
        f"{folder}/manifest.json": _manifest(),
        f"{folder}/model.mlmodel": spec.SerializeToString(deterministic=True),
        f"{folder}/weight.bin": _weights(model),
    }


def _classify(spec: Any, labels: Sequence[str]) -> None:
    """End the program with the outputs that Swift and Vision expect.

    They are the label and the probabilities by label. coremltools 9.0's ClassifierConfig raises
    IndexError with a second output in fp16.
    """
    text = coremltools().proto.MIL_pb2.DataType.STRING
    function = spec.mlProgram.functions["main"]
    block = function.block_specializations[function.opset]
    last = block.operations.add(type="classify")
    last.inputs["probabilities"].arguments.add().name = _TENSOR
    classes = last.inputs["classes"].arguments.add().value
    classes.type.listType.type.tensorType.dataType = text
    classes.type.listType.length.constant.size = len(labels)
    for label in labels:
        item = classes.immediateValue.list.values.add()
        item.type.tensorType.dataType = text
        item.immediateValue.tensor.strings.values.append(label)
    last.outputs.add(name=LABEL).type.tensorType.dataType = text
    by_label = last.outputs.add(name=PROBABILITIES).type.dictionaryType
    by_label.keyType.tensorType.dataType = text
    by_label.valueType.tensorType.dataType = coremltools().proto.MIL_pb2.DataType.FLOAT64
    block.outputs[:] = [LABEL, PROBABILITIES, EMBEDDING]

    described = spec.description
    (embedding,) = (output for output in described.output if output.name == EMBEDDING)
    del described.output[:]
    described.output.add(name=LABEL).type.stringType.SetInParent()
    described.output.add(name=PROBABILITIES).type.dictionaryType.stringKeyType.SetInParent()
    described.output.append(embedding)
    described.predictedFeatureName = LABEL
    described.predictedProbabilitiesName = PROBABILITIES


def _describe(description: Any, precision: str, checkpoint: Checkpoint) -> None:
    """Write what Xcode shows and ``modelDescription.metadata`` returns."""
    spec, facts = checkpoint.spec, checkpoint.facts
    size = spec.input.size_px
    metadata = description.metadata
    metadata.shortDescription = (
        f"Facial expression of one face: {spec.backbone} by fer_edge, {precision}. Says what a "
        "face shows, not what somebody feels."
    )
    metadata.author = "fer_edge"
    metadata.license = json.dumps(facts.get("licences", {}), sort_keys=True)
    metadata.versionString = version("fer-edge")
    metadata.userDefined.clear()  # coremltools' entries hold today's date
    metadata.userDefined["labels"] = json.dumps(spec.labels, ensure_ascii=False)
    metadata.userDefined["checkpoint_sha256"] = checkpoint.sha256
    metadata.userDefined["abstain_below"] = str(checkpoint.abstain_below)
    texts = {
        PICTURE: f"Square crop of one face, {size}x{size} pixels, colour. Nothing to normalise",
        LABEL: "The likeliest expression",
        PROBABILITIES: "Calibrated probability of each expression, by label",
        EMBEDDING: "The network's features before its last layer",
    }
    for feature in (*description.input, *description.output):
        feature.shortDescription = texts[feature.name]


def _manifest() -> bytes:
    """Return Core ML's manifest with the same identifiers in every conversion."""
    items = {
        str(uuid.uuid5(uuid.NAMESPACE_URL, path)): {
            "author": "com.apple.CoreML",
            "description": f"CoreML Model {what}",
            "name": path.rpartition("/")[2],
            "path": path,
        }
        for path, what in (
            ("com.apple.CoreML/model.mlmodel", "Specification"),
            ("com.apple.CoreML/weights", "Weights"),
        )
    }
    content = {
        "fileFormatVersion": "1.0.0",
        "itemInfoEntries": items,
        "rootModelIdentifier": next(iter(items)),
    }
    return json.dumps(content, indent=4).encode()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence progress bars and warnings about versions; the gate runs what was written."""
    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        yield
