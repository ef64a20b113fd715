"""A checkpoint's own int8 network: its input for converters, and its reference for the gate."""

from __future__ import annotations

from dataclasses import replace

from fer_edge.backends.base import backend
from fer_edge.converters.base import Int8Input
from fer_edge.converters.onnx_graph.export import export_onnx
from fer_edge.converters.pipeline.build_variant import ParityCheck, torch_outputs
from fer_edge.progress import Say
from fer_edge.training.checkpoint import Checkpoint

INT8 = "int8"


def own_int8(
    source: Checkpoint, requested: list[tuple[str, str]], check: ParityCheck, say: Say
) -> tuple[Int8Input | None, ParityCheck]:
    """Prepare the int8 network of a checkpoint, if it has one and int8 is requested.

    Args:
        source: Checkpoint, quantised or not.
        requested: Targets with precisions.
        check: Check against the float network.
        say: Receives a sentence.

    Returns:
        The network, and the check of int8 variants: they must equal the int8 network in torch.
    """
    if source.int8 is None or INT8 not in {precision for _, precision in requested}:
        return None, check
    say("Exporting the checkpoint's int8 network")
    quantised = source.quantised()
    outputs = torch_outputs(quantised, check.gate.images)
    return (
        Int8Input(quantised, export_onnx(quantised)),
        replace(check, reference=outputs, quantised=True),
    )


def without_rivals(source: Checkpoint, requested: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Leave out precisions that would quantise again what the checkpoint has in int8."""
    if source.int8 is None:
        return requested
    return [
        (target, precision)
        for target, precision in requested
        if precision == INT8 or precision not in backend(target).FACTS.quantised
    ]
