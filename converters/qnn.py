"""Qualcomm HTP: ONNX in Q/DQ form or in float, and context binaries for named chips."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import onnx

from fer_edge.backends.base import Options
from fer_edge.backends.onnxruntime import OnnxRuntimeSession
from fer_edge.backends.qnn import FACTS, QnnSession, preflight, simulates
from fer_edge.backends.qnn_chips import CHIPS, Chip, read_context, unknown_chip
from fer_edge.bundle import Variant
from fer_edge.converters.base import Artifact, ConversionInput, QuantizationRecipe
from fer_edge.converters.onnx_graph.htp_form import float_form, quantised_form
from fer_edge.errors import ConversionError, EngineError, MissingDependencyError, TargetError
from fer_edge.shown import first_line

PRECISIONS = FACTS.precisions
_BITS = {"w8a16": 16, "int8": 8}


def recipes(source: ConversionInput, precision: str) -> tuple[QuantizationRecipe, ...]:
    """Return nothing: there is one way. A search would take minutes on the simulator."""
    return ()


def check_chips(gpus: Sequence[str], socs: Sequence[str]) -> None:
    """Raise TargetError for a Qualcomm chip that no context binary is compiled for."""
    for name in socs:
        if name.lower() not in CHIPS:
            raise TargetError(unknown_chip(name.lower()))


def build(source: ConversionInput, precision: str, recipe: QuantizationRecipe) -> Artifact:
    """Build one variant; see converters.base.

    It holds the ONNX, which a device compiles as it loads it, and a context binary for each
    requested chip.
    """
    if find_spec("onnxruntime_qnn") is None:
        raise MissingDependencyError("onnxruntime-qnn", FACTS.extra or "qnn")
    check_chips((), source.socs)
    chips = [CHIPS[name] for name in dict.fromkeys(name.lower() for name in source.socs)]
    entry = f"qnn-{precision}/model.onnx"
    model = _model(source, precision)
    files, contexts = {entry: model}, {}
    for chip in chips:
        path = f"qnn-{precision}/{chip.name}.bin"
        files[path] = _context(model, precision, chip)
        contexts[chip.name] = {"path": path, "htp": chip.htp, "soc": chip.soc}
    needs: dict[str, Any] = {"contexts": contexts} if contexts else {}
    return Artifact(
        entry,
        files,
        tools={
            "qnn": version("onnxruntime-qnn"),
            **{name: version(name) for name in ("onnx", "onnxruntime", "torch")},
        },
        needs=needs,
        # The backend runs one face at a time.
        batch={"min": 1, "max": None},
        reference_session=lambda: OnnxRuntimeSession(model, Options()),
        verified_by="onnxruntime",  # it runs the same file
    )


def _model(source: ConversionInput, precision: str) -> bytes:
    spec = source.checkpoint.spec.input
    if precision == "fp16":
        return float_form(source.graph, spec)
    own = source.int8 if precision == "int8" else None
    return quantised_form(
        source.graph if own is None else own.graph,
        spec,
        source.calibration,
        _BITS[precision],
        own_scales=own is not None,
    )


def _context(model: bytes, precision: str, chip: Chip) -> bytes:
    """Compile a context binary, and compare what it says about itself with the request."""
    options = Options(device=chip.name)
    variant = Variant("qnn", precision, "qnn/model.onnx", ())
    if simulates(options) is None:
        raise ConversionError("context binaries for named chips are compiled on x86 alone")
    if problem := preflight(variant, options):
        raise ConversionError(f"qnn/{precision} for {chip.name}: {problem}")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "context.onnx")
        try:
            QnnSession(model, options, context=path).close()
            nodes = onnx.load(path).graph.node
        except Exception as error:  # onnxruntime raises a class per status code
            raise ConversionError(
                f"onnxruntime-qnn cannot compile qnn/{precision} for {chip.name} on this machine: "
                f"{first_line(error)}. Leave out --soc {chip.name}: a device compiles "
                "the ONNX itself"
            ) from error
    if [node.op_type for node in nodes] != ["EPContext"]:
        kinds = sorted({node.op_type for node in nodes} - {"EPContext"})
        raise ConversionError(
            f"expected one compiled graph for {chip.name}, the HTP left out {', '.join(kinds[:5])}"
        )
    facts = {a.name: onnx.helper.get_attribute_value(a) for a in nodes[0].attribute}
    binary: bytes = facts["ep_cache_context"]
    try:
        compiled = read_context(binary)
    except EngineError as error:
        raise ConversionError(f"the context binary for {chip.name}: {error}") from error
    if (compiled.soc, compiled.htp) != (chip.soc, chip.htp):
        raise ConversionError(
            f"expected a context binary for {chip.name} (number {chip.soc}, HTP v{chip.htp}), the "
            f"compiler made one for number {compiled.soc}, HTP v{compiled.htp}. Leave out "
            f"--soc {chip.name}"
        )
    return binary
