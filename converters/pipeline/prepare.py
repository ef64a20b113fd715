"""Preparation of a conversion: exported graphs, and the checks that every variant passes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fer_edge.converters.base import ConversionInput, Int8Input
from fer_edge.converters.onnx_graph.export import export_onnx
from fer_edge.converters.pipeline.build_variant import is_quantised
from fer_edge.converters.pipeline.face_samples import FaceSamples
from fer_edge.converters.pipeline.own_int8 import INT8, own_int8
from fer_edge.converters.pipeline.verify_variant import ParityCheck
from fer_edge.progress import Say
from fer_edge.training.checkpoint import Checkpoint
from fer_edge.training.deploy import DeployModule, check_answers

JUDGE_SECONDS = 120.0
"""Seconds after which a variant is judged on the faces so far. A simulated chip needs seconds for
one."""


@dataclass(frozen=True)
class Settings:
    """Settings of a conversion; see ``convert``.

    Attributes:
        allow_drop: Accuracy, as a share (0..1), that reduced precisions may lose.
        batch_sizes: Batch sizes to build engines for.
        gpus: GPUs to compile engines for.
        socs: Qualcomm chips to compile context binaries for.
        workspace_mib: GPU memory for one layer, in MiB.
        judge_seconds: Seconds after which a variant is judged on the faces so far.
    """

    allow_drop: float | None = None
    batch_sizes: tuple[int, ...] = (1,)
    gpus: tuple[str, ...] = ()
    socs: tuple[str, ...] = ()
    workspace_mib: int | None = None
    judge_seconds: float = JUDGE_SECONDS


@dataclass(frozen=True)
class Prepared:
    """Input of every build, and the checks of the variants.

    Attributes:
        work: Checkpoint, graphs and calibration faces.
        checks: Checks by network: True for the checkpoint's own int8, False for the float network.
    """

    work: ConversionInput
    checks: Mapping[bool, ParityCheck]

    def check(self, precision: str) -> ParityCheck:
        """Return the check of a variant in a precision."""
        return self.checks[precision == INT8 and self.work.int8 is not None]


def prepare(
    source: Checkpoint,
    requested: Sequence[tuple[str, str]],
    gate: FaceSamples,
    calibration: FaceSamples,
    settings: Settings,
    say: Say,
) -> Prepared:
    """Run the network in torch on the gate's faces, and export it.

    Args:
        source: Checkpoint to convert.
        requested: Targets with precisions.
        gate: Faces that verify.
        calibration: Faces that calibrate int8.
        settings: Settings of the conversion.
        say: Receives each sentence of progress.

    Raises:
        ConversionError: The network cannot be exported.
        CheckpointError: The int8 weights of the checkpoint do not fit, or its answers are not
            numbers.
    """
    own = own_int8(source, list(requested))
    # The float network takes a minute of its own; int8 alone does not need it.
    in_float = own is None or any(precision != INT8 for _, precision in requested)
    checks = {}
    for network in (source if in_float else None, own):
        if network is not None:
            say(f"Running {source.spec.backbone} in torch{' in int8' if network is own else ''}")
            reference = DeployModule(network).run(gate.images)
            check_answers(reference[0])
            checks[network is own] = ParityCheck(
                reference,
                gate,
                calibration,
                source.spec.labels,
                settings.allow_drop,
                abstain_below=source.abstain_below,
                quantised=is_quantised(network),
                budget_s=settings.judge_seconds,
            )
    say(f"Exporting {source.spec.backbone}")
    graph = export_onnx(source) if in_float else b""
    work = ConversionInput(
        source,
        graph,
        calibration.images,
        settings.batch_sizes,
        settings.gpus,
        settings.workspace_mib,
        None if own is None else Int8Input(own, export_onnx(own)),
        settings.socs,
    )
    return Prepared(work, checks)
