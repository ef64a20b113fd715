"""Conversion matrix: every backbone on every target, verified or refused with a reason.

``fer-edge matrix`` runs full-size networks; ``--small`` runs the same architectures with fewer
blocks and smaller inputs, in minutes. Weights are random except for the classifier, which is fitted
to faces: a gate sees no error in a network whose answers are all alike.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fer_edge.converters.base import ConversionInput, converter, targets
from fer_edge.converters.onnx_graph.export import export_onnx
from fer_edge.converters.pipeline.build_variant import (
    BuiltVariant,
    ParityCheck,
    build_variant,
    torch_outputs,
    verify_variant,
)
from fer_edge.converters.pipeline.convert import CROP_MARGIN
from fer_edge.converters.pipeline.face_samples import FaceSamples, calibration_faces, parity_faces
from fer_edge.converters.pipeline.quick_latency import single_face_p50_ms
from fer_edge.errors import FerEdgeError, InputError
from fer_edge.labels import EMOTIONS
from fer_edge.page import markdown_table
from fer_edge.parity import JudgedBy
from fer_edge.preprocess import CropRule
from fer_edge.progress import Say, Step, silent
from fer_edge.shipped import DEFAULT_CHECKPOINT
from fer_edge.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from fer_edge.training.deploy import DeployModule
from fer_edge.training.models.network import ExpressionNet, InputSpec, ModelSpec, parameter_count

FACES = 280
"""Faces that verify each cell: forty of each class, more than the 256 that a verdict needs."""
_FIT_FACES = 2_000
"""Faces that a classifier is fitted to: many more than it has inputs. With few, it relies on
features that hardly vary, and rounding changes decisions: a small ViT in int8 kept 91 % of its
decisions with 300 faces, 99 % with 2,000."""
_RIDGE = 1.0
"""Strength of the ridge, relative to the mean diagonal of the Gram matrix."""
_SEED = 2026


@dataclass(frozen=True)
class MatrixRow:
    """One network on one target in one precision.

    Attributes:
        network: Name of the network.
        parameters: Number of parameters.
        target: Name of the target.
        precision: Name of the precision.
        refused: Why there are no figures; None if there are.
        agreement: Share (0..1) of faces with the checkpoint's decision.
        max_abs_dp: Largest absolute difference of a probability.
        failures: Limits of the gate that the variant breaks.
        recipes_tried: Number of recipes that were run.
        judged_by: Session that ran instead of the engine; None if the engine ran.
        bytes: Size of the variant's files.
        build_s: Seconds of the build, the search of recipes included.
        p50_ms: Median latency of one face in milliseconds; None if the engine cannot run here.
    """

    network: str
    parameters: int
    target: str
    precision: str
    refused: str | None = None
    agreement: float | None = None
    max_abs_dp: float | None = None
    failures: tuple[str, ...] = ()
    recipes_tried: int = 0
    judged_by: JudgedBy | None = None
    bytes: int | None = None
    build_s: float | None = None
    p50_ms: float | None = None


def _spec(
    backbone: str,
    size_px: int,
    half: bool = False,
    neck: tuple[str, ...] = (),
    **backbone_args: Any,
) -> ModelSpec:
    """Describe a network; ``half`` normalises to -1..1 instead of by ImageNet's statistics."""
    mean = (0.5,) * 3 if half else (0.485, 0.456, 0.406)
    std = (0.5,) * 3 if half else (0.229, 0.224, 0.225)
    inputs = InputSpec(size_px, "rgb", mean, std)
    return ModelSpec(backbone, EMOTIONS, inputs, neck=neck, backbone_args=backbone_args)


_SYSTEM_A = ("linear 256", "batchnorm", "relu", "dropout 0.3")
_SYSTEM_C = (
    *("dropout 0.3", "linear 512", "relu", "batchnorm"),
    *("dropout 0.3", "linear 256", "relu", "batchnorm"),
)
_SYSTEM_E = ("linear 128",)
_CNN48 = ModelSpec("cnn48", EMOTIONS, InputSpec(48, "grey", (0.508,), (0.255,)))

FULL: dict[str, ModelSpec] = {
    "gcvit_small": _spec("gcvit_small", 224, neck=_SYSTEM_A),
    "vit_tiny_patch16_224": _spec("vit_tiny_patch16_224", 224, half=True),
    "tf_efficientnetv2_s": _spec("tf_efficientnetv2_s", 224, neck=_SYSTEM_C),
    "vit_base_patch16_224.mae": _spec("vit_base_patch16_224.mae", 224),
    "swin_base_patch4_window7_224": _spec("swin_base_patch4_window7_224", 224, neck=_SYSTEM_E),
    "cnn48": _CNN48,
}
_SMALL_SWIN: dict[str, Any] = {
    "img_size": 64,
    "depths": (2, 2),
    "num_heads": (2, 4),
    "embed_dim": 32,
}
SMALL: dict[str, ModelSpec] = {
    "gcvit, small": _spec("gcvit_xxtiny", 64, neck=_SYSTEM_A, img_size=64),
    "vit_tiny, small": _spec("vit_tiny_patch16_224", 64, half=True, img_size=64, depth=2),
    "efficientnetv2, small": _spec("test_efficientnet", 64, neck=_SYSTEM_C),
    "vit_mae, small": _spec(
        "vit_base_patch16_224.mae", 64, img_size=64, depth=2, embed_dim=96, num_heads=3
    ),
    "swin, small": _spec(
        "swin_base_patch4_window7_224", 64, neck=_SYSTEM_E, window_size=4, **_SMALL_SWIN
    ),
    "cnn48": _CNN48,
}


def matrix(
    networks: dict[str, ModelSpec],
    *,
    data: Path | None = None,
    named: Sequence[str] = (),
    only: Sequence[str] = (),
    precisions: Sequence[str] = (),
    gpus: Sequence[str] = (),
    keep: Path | None = None,
    say: Say = print,
    step: Step = silent,
    found: Callable[[list[MatrixRow]], None] = lambda rows: None,
) -> list[MatrixRow]:
    """Convert and verify every network on every target in every precision.

    Args:
        networks: Networks by name; the default model is added as the first.
        data: Labelled faces, as in convert.
        named: Names of networks; empty means all.
        only: Names of targets; empty means all.
        precisions: Names of precisions; empty means all.
        gpus: GPUs to compile engines for, as in convert.
        keep: Folder for the checkpoint of each network. A checkpoint that is there is not fitted
            again.
        say: Receives each sentence of progress.
        step: Receives the progress over all cells.
        found: Receives the rows so far after each new one, which can take minutes.

    Returns:
        One row for each network, target and precision.

    Raises:
        InputError: A network or a precision is unknown.
        DataError: The faces cannot be read, or are too few.
    """
    rows = []
    default = load_checkpoint(DEFAULT_CHECKPOINT)
    chosen = {"the default model": default.spec, **networks}
    if named:
        if unknown := set(named) - set(chosen):
            raise InputError(
                f"expected networks among {', '.join(map(repr, chosen))}, got {sorted(unknown)}"
            )
        chosen = {name: chosen[name] for name in named}
    pairs = cells(only, precisions)
    for n, (name, spec) in enumerate(chosen.items()):
        rule = CropRule(spec.input.size_px, CROP_MARGIN)
        gate = parity_faces(data, EMOTIONS, rule, FACES)
        calibration = calibration_faces(data, EMOTIONS, rule, gate, _SEED)
        say(f"{name}: {len(gate.images)} faces judge")
        folder = None if keep is None else keep / name.replace(", ", "-").replace(" ", "-")
        checkpoint = default if spec is default.spec else _kept(folder, spec)
        if checkpoint is not None and checkpoint is not default:
            say(f"  fitted before: {folder}")
        if checkpoint is None:
            say(f"  fitting its classifier to up to {_FIT_FACES:,} others")
            checkpoint = fitted(
                spec, calibration_faces(data, EMOTIONS, rule, gate, _SEED, _FIT_FACES)
            )
        if folder is not None:
            save_checkpoint(checkpoint, folder)
        parameters = parameter_count(checkpoint.model)
        try:
            graph = export_onnx(checkpoint)
        except FerEdgeError as error:
            rows += [MatrixRow(name, parameters, t, p, refused=str(error)) for t, p in pairs]
            continue
        source = ConversionInput(checkpoint, graph, calibration.images, gpus=tuple(gpus))
        reference = torch_outputs(checkpoint, gate.images)
        check = ParityCheck(reference, gate, calibration, EMOTIONS)
        for k, (target, precision) in enumerate(pairs):
            step(f"{name} {target}/{precision}", n * len(pairs) + k, len(chosen) * len(pairs))
            row = MatrixRow(name, parameters, target, precision)
            rows.append(_cell(row, source, rule, check, say))
            found(rows)
    return rows


def cells(only: Sequence[str] = (), precisions: Sequence[str] = ()) -> list[tuple[str, str]]:
    """Return the target and precision pairs of the table; empty filters mean all.

    Raises:
        InputError: No requested target has a requested precision.
    """
    pairs = [
        (target, precision)
        for target in only or targets()
        for precision in converter(target).PRECISIONS
        if not precisions or precision in precisions
    ]
    if not pairs:
        raise InputError(f"no target that was asked for has the precision {', '.join(precisions)}")
    return pairs


def _cell(
    row: MatrixRow, source: ConversionInput, rule: CropRule, check: ParityCheck, say: Say
) -> MatrixRow:
    started = time.monotonic()
    candidate: BuiltVariant | None = None
    try:
        candidate = build_variant(row.target, row.precision, source, rule, say)
        build_s = time.monotonic() - started
        size = sum(file.bytes for file in candidate.variant.files)
        if candidate.session is None:
            return replace(row, refused=candidate.unable, bytes=size, build_s=build_s)
        report = verify_variant(candidate, check, say).parity
        assert report is not None
        p50_ms = None
        if candidate.unable is None:
            name = candidate.variant.name
            p50_ms = single_face_p50_ms({name: candidate.session}, check.gate.images[:1])[name]
        return replace(
            row,
            agreement=report.agreement,
            max_abs_dp=report.max_abs_dp,
            failures=report.failures,
            recipes_tried=sum(trial.agreement is not None for trial in report.search),
            judged_by=report.judged_by,
            bytes=size,
            build_s=build_s,
            p50_ms=p50_ms,
        )
    except FerEdgeError as error:
        return replace(row, refused=str(error))
    finally:
        if candidate is not None and candidate.session is not None:
            candidate.session.close()


def _kept(folder: Path | None, spec: ModelSpec) -> Checkpoint | None:
    """Load the checkpoint of an earlier run; fitting a large network takes minutes."""
    if folder is None or not folder.exists():
        return None
    checkpoint = load_checkpoint(folder)
    return checkpoint if checkpoint.spec == spec else None


def fitted(spec: ModelSpec, faces: FaceSamples) -> Checkpoint:
    """Make a network with random weights and fit its classifier to faces.

    Args:
        spec: Network.
        faces: Faces for the statistics of batch norm and for a ridge classifier.

    Returns:
        A checkpoint in memory.
    """
    torch.manual_seed(_SEED)
    model = ExpressionNet(spec).eval()
    # With batch norm left at mean 0 and variance 1, a deep network's signal explodes.
    deployed = DeployModule(Checkpoint(model))
    norms = [m for m in model.modules() if isinstance(m, torch.nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        norm.momentum = None
        norm.train()
    with torch.no_grad():
        for part in torch.split(torch.from_numpy(faces.images), 64) if norms else ():
            deployed(part)
    model.eval()
    _, embedding = torch_outputs(Checkpoint(model), faces.images)
    mean = embedding.mean(0)
    x = embedding - mean
    truth = np.eye(len(EMOTIONS))[[EMOTIONS.index(name) for name in faces.truth]] - 1 / len(
        EMOTIONS
    )
    # A lighter ridge would rely on features that hardly vary, which any rounding changes.
    gram = x.T @ x
    gram += _RIDGE * np.trace(gram) / len(gram) * np.eye(len(gram))
    weight = np.linalg.solve(gram, x.T @ truth)
    scale = 2 / (embedding @ weight - mean @ weight).std()
    classifier = model.head[1]
    assert isinstance(classifier, torch.nn.Linear)
    with torch.no_grad():
        classifier.weight.copy_(torch.from_numpy((scale * weight).T))
        classifier.bias.copy_(torch.from_numpy(-scale * (mean @ weight)))
        for parameter in model.parameters():  # as a checkpoint stores them
            if parameter.ndim > 1:
                parameter.copy_(parameter.half().float())
    return Checkpoint(model)


def _overview(rows: Sequence[MatrixRow]) -> str:
    """Tabulate the verdicts: networks across, targets and precisions down."""
    networks = list(dict.fromkeys(row.network for row in rows))
    cells = {(f"{row.target}/{row.precision}", row.network): _glance(row) for row in rows}
    variants = dict.fromkeys(variant for variant, _ in cells)
    return markdown_table(
        ["", *networks],
        [[variant, *(cells.get((variant, name), "") for name in networks)] for variant in variants],
    )


def _glance(row: MatrixRow) -> str:
    if row.agreement is None:
        return "–"
    return f"{'✓' if not row.failures else '✗'} {row.agreement:.1%}"


def markdown(rows: Sequence[MatrixRow]) -> str:
    """Return the tables in Markdown, with the sessions that ran instead of engines below.

    Args:
        rows: Rows of the matrix.
    """
    head = [
        "network", "parameters", "target", "precision", "agreement", "max abs dp", "verdict",
        "MB", "build s", "p50 ms",
    ]  # fmt: skip
    lines = []
    notes: list[JudgedBy] = []
    for row in rows:
        verdict = row.refused or "; ".join(row.failures) or "passed"
        if row.recipes_tried > 1:
            verdict += f" (the best of {row.recipes_tried} recipes)"
        if row.judged_by and not row.refused:
            if row.judged_by not in notes:
                notes.append(row.judged_by)
            verdict += f" [{notes.index(row.judged_by) + 1}]"
        lines.append(
            [
                row.network,
                f"{row.parameters:,}",
                row.target,
                row.precision,
                "" if row.agreement is None else f"{row.agreement:.2%}",
                "" if row.max_abs_dp is None else f"{row.max_abs_dp:.1e}",
                verdict.replace("|", "/"),
                "" if row.bytes is None else f"{row.bytes / 1e6:.1f}",
                "" if row.build_s is None else f"{row.build_s:.1f}",
                "" if row.p50_ms is None else f"{row.p50_ms:.2f}",
            ]
        )
    below = "\n".join(f"[{i}] Verified by {note}.  " for i, note in enumerate(notes, start=1))
    tables = (
        "Decisions that agree with the checkpoint; ✓ passed, ✗ failed its gate, – has no figures"
        f" for the reason below.\n\n{_overview(rows)}\n{markdown_table(head, lines)}"
    )
    return f"{tables}\n{below}\n" if notes else tables
