"""Conversion matrix: each backbone on each target, verified or refused.

``fer-edge matrix`` runs full-size networks; ``--small`` runs the same architectures with fewer
blocks and smaller inputs, in minutes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from fer_edge.converters.base import ConversionInput, converter, targets
from fer_edge.converters.pipeline.build_variant import BuiltVariant, build_variant
from fer_edge.converters.pipeline.face_samples import (
    FaceSamples,
    calibration_faces,
    calibration_if_any,
    parity_faces,
)
from fer_edge.converters.pipeline.matrix_networks import fitted
from fer_edge.converters.pipeline.matrix_table import MatrixRow
from fer_edge.converters.pipeline.own_int8 import needs_faces
from fer_edge.converters.pipeline.prepare import Settings, prepare
from fer_edge.converters.pipeline.quick_latency import single_face_p50_ms
from fer_edge.converters.pipeline.request import check_chips
from fer_edge.converters.pipeline.verify_variant import ParityCheck, verify_variant
from fer_edge.errors import FerEdgeError, InputError
from fer_edge.labels import EMOTIONS
from fer_edge.preprocess import CROP_MARGIN, CropRule
from fer_edge.progress import Say, Step, silent
from fer_edge.shipped import DEFAULT_CHECKPOINT
from fer_edge.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from fer_edge.training.models.network import ModelSpec, parameter_count

FACES = 1_050
"""Faces that verify each cell, 150 of each class. With all of them answered, none or one changed
decision passes 99.5 %."""
_FIT_FACES = 2_000
"""Faces that a classifier is fitted to: many more than it has inputs. With few faces, the
classifier relies on features that hardly vary, and rounding changes decisions. A small ViT in int8
kept 91 % of its decisions with 300 faces, 99 % with 2,000."""
_SEED = 2026


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
    on_rows: Callable[[list[MatrixRow]], None] = lambda rows: None,
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
        on_rows: Receives the rows so far after each new one, which can take minutes.

    Returns:
        One row for each network, target and precision.

    Raises:
        InputError: A network is unknown, or a precision is none of the targets'.
        TargetError: A target or a GPU is unknown.
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
    check_chips(gpus, ())
    for n, (name, spec) in enumerate(chosen.items()):
        rule = CropRule(spec.input.size_px, CROP_MARGIN)
        gate = parity_faces(data, EMOTIONS, rule, FACES)
        say(f"{name}: {len(gate.images)} faces judge")
        folder = None if keep is None else keep / name.replace(", ", "-").replace(" ", "-")
        checkpoint = default
        if spec is not default.spec:
            checkpoint = _kept(folder, spec, say) or _fitted(spec, data, rule, gate, say)
        if folder is not None:
            save_checkpoint(checkpoint, folder)
        needed = needs_faces(checkpoint, pairs)
        calibration = calibration_if_any(data, EMOTIONS, rule, gate, _SEED, needed)
        parameters = parameter_count(checkpoint.model)
        settings = Settings(gpus=tuple(gpus))
        try:
            prepared = prepare(checkpoint, pairs, gate, calibration, settings, say)
        except FerEdgeError as error:
            rows += [MatrixRow(name, parameters, t, p, refused=str(error)) for t, p in pairs]
            on_rows(rows)
            continue
        for k, (target, precision) in enumerate(pairs):
            step(f"{name} {target}/{precision}", n * len(pairs) + k, len(chosen) * len(pairs))
            row = MatrixRow(name, parameters, target, precision)
            check = prepared.check(precision)
            rows.append(_cell(row, prepared.work, rule, check, say))
            on_rows(rows)
    return rows


def cells(only: Sequence[str] = (), precisions: Sequence[str] = ()) -> list[tuple[str, str]]:
    """Return the table's pairs of target and precision.

    Empty filters mean all.

    Raises:
        InputError: No requested target has one of the precisions.
        TargetError: A target is unknown.
    """
    pairs = [
        (target, precision)
        for target in dict.fromkeys(only or targets())
        for precision in converter(target).PRECISIONS
        if not precisions or precision in precisions
    ]
    known = {precision for _, precision in pairs}
    if unknown := [precision for precision in precisions if precision not in known]:
        raise InputError(
            f"no requested target has the precision {', '.join(unknown)}. Choose others with "
            "--precision"
        )
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
        if candidate.on_hardware:
            name = candidate.variant.name
            p50_ms = single_face_p50_ms({name: candidate.session}, check.gate.images[:1])[name]
        return replace(
            row,
            agreement=report.agreement,
            max_abs_dp=report.max_abs_dp,
            failures=report.failures,
            verdict=report.verdict,
            doubt=None if report.judgement is None else report.judgement.warning,
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


def _kept(folder: Path | None, spec: ModelSpec, say: Say) -> Checkpoint | None:
    """Load the checkpoint of an earlier run; fitting a large network takes minutes."""
    if folder is None or not folder.exists():
        return None
    checkpoint = load_checkpoint(folder)
    if checkpoint.spec != spec:
        return None
    say(f"  fitted before: {folder}")
    return checkpoint


def _fitted(
    spec: ModelSpec, data: Path | None, rule: CropRule, gate: FaceSamples, say: Say
) -> Checkpoint:
    """Fit a network to faces that are not in the gate."""
    say(f"  fitting its classifier to up to {_FIT_FACES:,} others")
    return fitted(spec, calibration_faces(data, EMOTIONS, rule, gate, _SEED, _FIT_FACES))
