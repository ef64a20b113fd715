"""One checkpoint to one bundle: export, build each variant, judge it, write all or nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from fer_edge.bundle import Bundle, open_bundle, write_bundle
from fer_edge.converters.base import ConversionInput, converter
from fer_edge.converters.base import targets as known_targets
from fer_edge.converters.onnx_graph.export import export_onnx
from fer_edge.converters.pipeline.assemble_bundle import merged, refusal
from fer_edge.converters.pipeline.build_variant import (
    BuiltVariant,
    build_variant,
    judge_variant,
    torch_outputs,
)
from fer_edge.converters.pipeline.face_samples import FaceSamples, calibration_faces, parity_faces
from fer_edge.converters.pipeline.quick_latency import beaten, single_face_p50_ms
from fer_edge.errors import (
    BundleError,
    ConversionError,
    MissingDependencyError,
    ParityError,
    TargetError,
)
from fer_edge.machine import cpu_name
from fer_edge.preprocess import CropRule
from fer_edge.progress import Say
from fer_edge.training.checkpoint import Checkpoint, load_checkpoint

ALL, AUTO = "all", "auto"
"""Precisions that mean: what this target has and this machine can run. ``all`` keeps what passes
its gate, ``auto`` only those that no faster one beats that agrees with the checkpoint as often."""

CROP_MARGIN = 0.1
"""FER2013's faces show a little more than a detector's box; a tenth on each side restores it."""


def convert(
    checkpoint: str | Path,
    targets: Sequence[str],
    out: str | Path,
    precisions: Sequence[str] = (AUTO,),
    *,
    data: str | Path | None = None,
    calibrate: str | Path | None = None,
    allow_drop: float | None = None,
    allow_unproven: bool = False,
    batch_sizes: Sequence[int] = (1,),
    gpus: Sequence[str] = (),
    workspace_mib: int | None = None,
    seed: int = 2026,
    say: Say = print,
) -> Bundle:
    """Convert a checkpoint folder into the bundle ``out``, or add variants to the one there.

    targets: names of converters (``onnxruntime``, ``openvino``), or ``all`` that have their
    libraries here. precisions: names, or
    ``all`` or ``auto`` (see above); with these a variant that cannot run here or fails its gate is
    left out and said to be, with names it is an error.
    data: labelled faces; its ``val`` part judges, its ``train`` part calibrates int8. None uses
    the composite faces that ship with the package. calibrate: other faces for int8.
    allow_drop: accuracy, as a share, that reduced precisions may lose; recorded in the bundle.
    allow_unproven: write variants that nothing here can judge, marked so in the bundle.
    batch_sizes, gpus, workspace_mib: see converters.base.ConversionInput.

    What was tried and left out is in the bundle's ``provenance["refused"]``, with its figures.

    Raises ParityError, saying by how much, if a variant fails its gate (nothing is written then),
    ConversionError, DataError, CheckpointError, TargetError, or BundleError if ``out`` holds
    another checkpoint.
    """
    out = Path(out)
    source = load_checkpoint(checkpoint)
    spec = source.spec
    wanted = _wanted(targets, precisions)
    existing = _existing(out, source)
    rule = CropRule(spec.input.size_px, CROP_MARGIN)
    if data is None:
        say("No --data given: parity is judged on the composite faces that ship with fer_edge.")
    gate = parity_faces(_path(data), spec.labels, rule)
    calibration = calibration_faces(_path(calibrate) or _path(data), spec.labels, rule, gate, seed)
    say(f"{len(gate.images):,} faces judge, {len(calibration.images)} others calibrate")
    say(f"Exporting {spec.backbone}")
    graph = export_onnx(source)
    reference = torch_outputs(source, gate.images)
    lenient = bool({ALL, AUTO} & set(precisions))
    work = ConversionInput(
        source, graph, calibration.images, tuple(batch_sizes), tuple(gpus), workspace_mib
    )
    judged = []
    for target, precision in wanted:
        try:
            candidate = build_variant(target, precision, work, rule, say)
        except MissingDependencyError as error:
            if ALL not in targets:
                raise
            say(f"Left out: {target}/{precision}: {error}")
            continue
        except ConversionError as error:
            if not lenient:
                raise
            say(f"Left out: {target}/{precision}: {error}")
            continue
        if candidate.session is not None:
            variant = judge_variant(
                candidate, reference, gate, calibration, spec.labels, allow_drop, say
            )
            judged.append(replace(candidate, variant=variant))
        elif allow_unproven:
            say(f"  {candidate.variant.name}: NOT PROVEN, {candidate.unable}")
            variant = replace(candidate.variant, parity={"unproven": candidate.unable})
            judged.append(replace(candidate, variant=variant))
        else:
            sentence = (
                f"{candidate.variant.name} cannot run on this machine, so it cannot be judged: "
                f"{candidate.unable}. --allow-unproven writes it all the same"
            )
            if not lenient:
                raise ConversionError(sentence)
            say(f"Left out: {sentence}")
    broken = [c for c in judged if c.variant.parity.get("failures")]
    if broken and not lenient:
        raise ParityError(
            "nothing was written: "
            + "; ".join(
                f"{c.variant.name}: {', '.join(c.variant.parity['failures'])}" for c in broken
            )
            + ". --allow-drop POINTS accepts a loss on purpose"
        )
    timed = _timed([c for c in judged if c not in broken], gate, say)
    pointless = [c for c in timed if AUTO in precisions and "beaten_by" in c.variant.speed]
    timed = [c for c in timed if c not in pointless]
    refused = {c.variant.name: refusal(c.variant) for c in (*broken, *pointless)}
    for c in judged:
        if c.session is not None:
            c.session.close()
    if not timed:
        raise ParityError("nothing was written: no variant passed its gate")
    variants = [c.variant for c in timed]
    files = {path: data for c in timed for path, data in c.artifact.files.items()}
    write_bundle(*merged(out, source, rule, variants, files, existing, refused))
    return open_bundle(out)


def _path(value: str | Path | None) -> Path | None:
    return None if value is None else Path(value)


def _existing(out: Path, source: Checkpoint) -> Bundle | None:
    if out.suffix != ".fer":
        raise BundleError(f"expected a bundle name that ends in .fer, got {out}")
    if not out.exists():
        return None
    bundle = open_bundle(out)
    # Temperature and labels are built into the variants that are there.
    same = (
        bundle.provenance.get("checkpoint_sha256") == source.sha256
        and bundle.labels == source.spec.labels
        and bundle.temperature == source.temperature
        and bundle.abstain_below == source.abstain_below
    )
    if not same:
        raise BundleError(
            f"{out} was made from another checkpoint. Choose another name, or remove it first"
        )
    return bundle


def _wanted(targets: Sequence[str], precisions: Sequence[str]) -> list[tuple[str, str]]:
    """Target and precision pairs; raises TargetError for one that its target does not have."""
    wanted = []
    if ALL in targets:
        targets = known_targets()
    for target in dict.fromkeys(targets):
        offered = converter(target).PRECISIONS
        chosen = (
            offered if {ALL, AUTO} & set(precisions) else [p for p in precisions if p in offered]
        )
        wanted += [(target, precision) for precision in dict.fromkeys(chosen)]
    missing = [p for p in precisions if p not in (ALL, AUTO) and p not in {q for _, q in wanted}]
    if missing or not wanted:
        offers = "; ".join(f"{t}: {', '.join(converter(t).PRECISIONS)}" for t in targets)
        raise TargetError(f"no target asked for has {', '.join(missing)}. Offered: {offers}")
    return wanted


def _timed(candidates: list[BuiltVariant], gate: FaceSamples, say: Say) -> list[BuiltVariant]:
    """With its latency here, and the variant that makes it pointless, if any, for each whose
    engine can run here."""
    others = [c for c in candidates if c.unable is not None]
    candidates = [c for c in candidates if c.unable is None]
    sessions = {c.variant.name: c.session for c in candidates if c.session is not None}
    p50_ms = single_face_p50_ms(sessions, gate.images[:1])
    agreement = {c.variant.name: float(c.variant.parity["agreement"]) for c in candidates}
    pointless = beaten(p50_ms, agreement)
    timed = []
    for c in sorted(candidates, key=lambda c: p50_ms[c.variant.name]):
        name = c.variant.name
        speed: dict[str, Any] = {"batch_1_p50_ms": p50_ms[name], "machine": cpu_name()}
        note = ""
        if name in pointless:
            speed["beaten_by"] = pointless[name]
            note = f"  not worth it here: {pointless[name]} is faster and agrees as often"
        say(f"  {name}: {p50_ms[name]:.3f} ms a face{note}")
        timed.append(replace(c, variant=replace(c.variant, speed=speed)))
    return others + timed
