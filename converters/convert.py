"""One checkpoint to one bundle: export, build each variant, judge it, write all or nothing."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from fer_edge.backends.base import Options, Outputs, Session, backend
from fer_edge.bundle import Bundle, Variant, listed, open_bundle, write_bundle
from fer_edge.converters.base import Artifact, Recipe, Source, converter
from fer_edge.converters.base import targets as known_targets
from fer_edge.converters.export import export_onnx
from fer_edge.converters.faces import FaceSet, calibration_faces, gate_faces
from fer_edge.converters.parity import Limits, compare, failures, prove_batches, run_all
from fer_edge.converters.probe import crash
from fer_edge.converters.search import best_recipe
from fer_edge.converters.speed import beaten, single_face_p50_ms
from fer_edge.errors import (
    BundleError,
    ConversionError,
    MissingDependencyError,
    ParityError,
    TargetError,
)
from fer_edge.machine import cpu_name
from fer_edge.preprocess import CropRule
from fer_edge.training.checkpoint import Checkpoint, load_checkpoint
from fer_edge.training.deploy import DeployModule

Say = Callable[[str], None]

ALL, AUTO = "all", "auto"
"""Precisions that mean: what this target has and this machine can run. ``all`` keeps what passes
its gate, ``auto`` only those that no faster one beats that agrees with the checkpoint as often."""

CROP_MARGIN = 0.1
"""FER2013's faces show a little more than a detector's box; a tenth on each side restores it."""


@dataclass(frozen=True)
class Candidate:
    """A variant that is built, but not yet written.

    session: what judges it: its engine, or a stand-in where ``unable`` says why that cannot run
    here; None where there is no stand-in either. search: the recipes that were tried.
    """

    variant: Variant
    artifact: Artifact
    session: Session | None
    unable: str | None = None
    search: list[dict[str, Any]] = field(default_factory=list)


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
    batch_sizes, gpus, workspace_mib: see converters.base.Source.

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
    gate = gate_faces(_path(data), spec.labels, rule)
    calibration = calibration_faces(_path(calibrate) or _path(data), spec.labels, rule, gate, seed)
    say(f"{len(gate.images):,} faces judge, {len(calibration.images)} others calibrate")
    say(f"Exporting {spec.backbone}")
    graph = export_onnx(source)
    reference = torch_outputs(source, gate.images)
    lenient = bool({ALL, AUTO} & set(precisions))
    work = Source(source, graph, calibration.images, tuple(batch_sizes), tuple(gpus), workspace_mib)
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
    refused = {c.variant.name: _refusal(c.variant) for c in (*broken, *pointless)}
    for c in judged:
        if c.session is not None:
            c.session.close()
    if not timed:
        raise ParityError("nothing was written: no variant passed its gate")
    bundle, contents = _merged(out, source, rule, timed, existing, refused)
    write_bundle(bundle, contents)
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


def torch_outputs(checkpoint: Checkpoint, images: npt.NDArray[np.uint8]) -> Outputs:
    """The reference: the deploy graph in torch, fp32, on the CPU. images: as in FaceSet."""
    module = DeployModule(checkpoint)
    with torch.inference_mode():
        parts = [module(part) for part in torch.split(torch.from_numpy(images), 64)]
    return (
        np.concatenate([p.numpy() for p, _ in parts]),
        np.concatenate([e.numpy() for _, e in parts]),
    )


def build_variant(
    target: str, precision: str, source: Source, rule: CropRule, say: Say
) -> Candidate:
    """One variant, loaded by its engine if that is here and survives it; see Candidate.

    Raises ConversionError, TargetError, EngineError.
    """
    started = time.monotonic()
    recipe, log = _recipe(target, precision, source, rule, say)
    artifact = converter(target).build(source, precision, recipe)
    candidate = replace(_loaded(target, precision, artifact, source, rule), search=log)
    say(f"Built {candidate.variant.name} in {time.monotonic() - started:.1f} s")
    return candidate


def _recipe(
    target: str, precision: str, source: Source, rule: CropRule, say: Say
) -> tuple[Recipe, list[dict[str, Any]]]:
    """The recipe that keeps the most decisions on the calibration faces, and the search's log."""
    recipes = converter(target).recipes(source, precision)
    if len(recipes) < 2:
        return (recipes[0] if recipes else {}), []
    expected = torch_outputs(source.checkpoint, source.calibration)[0].argmax(1)
    anywhere = replace(source, gpus=())  # engines are compiled for the chosen recipe alone

    def agreement(recipe: Recipe) -> float | None:
        artifact = converter(target).build(anywhere, precision, recipe)
        candidate = _loaded(target, precision, artifact, source, rule)
        if candidate.session is None:
            return None
        with contextlib.closing(candidate.session):
            decided = run_all(candidate.session, source.calibration)[0].argmax(1)
        return float((decided == expected).mean())

    return best_recipe(recipes, agreement, say)


def _loaded(
    target: str, precision: str, artifact: Artifact, source: Source, rule: CropRule
) -> Candidate:
    variant = Variant(
        target=target,
        precision=precision,
        entry=artifact.entry,
        files=tuple(listed(path, data) for path, data in artifact.files.items()),
        needs=artifact.needs,
        batch=artifact.batch,
        tools=artifact.tools,
    )
    engine = backend(target)
    session = None
    unable = engine.preflight(variant, Options())
    if unable is None:
        alone = Candidate(variant, artifact, None)
        unable = crash(*_merged(Path("probe.fer"), source.checkpoint, rule, [alone], None, {}))
        if unable is None:
            session = engine.load(variant, artifact.files, Options())
    elif artifact.stand_in is not None:
        session = artifact.stand_in()
    return Candidate(variant, artifact, session, unable)


def judge_variant(
    candidate: Candidate,
    reference: Outputs,
    gate: FaceSet,
    calibration: FaceSet,
    labels: Sequence[str],
    allow_drop: float | None,
    say: Say,
) -> Variant:
    """The variant with its parity report; ``parity["failures"]`` is empty if it passed."""
    variant = candidate.variant
    assert candidate.session is not None
    outputs = run_all(candidate.session, gate.images)
    report: dict[str, Any] = compare(reference, outputs, gate.truth, labels)
    broken = failures(report, variant.precision, Limits(), allow_drop)
    report |= {
        "faces": gate.as_dict(),
        "batch_sizes": prove_batches(candidate.session, gate.images, outputs),
        "allowed_drop": allow_drop,
        "failures": broken,
        "machine": cpu_name(),
    }
    if candidate.unable is not None:
        report["judged_by"] = (
            f"{candidate.artifact.judge} in place of the engine, which has not run anywhere yet: "
            f"{candidate.unable}"
        )
    if variant.precision in ("int8", "w8a8"):
        report["calibration"] = calibration.as_dict()
    if candidate.search:
        report["search"] = candidate.search
    say(
        f"  {variant.name}: accuracy {100 * report['accuracy']:.2f} % "
        f"({100 * report['accuracy_change']:+.2f} points), agreement "
        f"{100 * report['agreement']:.2f} %, max |dp| {report['max_abs_dp']:.1e}"
        + (f"  FAILED: {', '.join(broken)}" if broken else "")
    )
    return replace(variant, parity=report)


def _timed(candidates: list[Candidate], gate: FaceSet, say: Say) -> list[Candidate]:
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


def _refusal(variant: Variant) -> dict[str, Any]:
    """Why a variant that was built is not in the bundle, with the figures."""
    wanted = ("agreement", "accuracy_change", "failures", "search", "judged_by")
    return {k: variant.parity[k] for k in wanted if k in variant.parity} | dict(variant.speed)


def _preference(variant: Variant) -> tuple[int, float]:
    """Order in the bundle. First what was built for a chip that is not here: it is wanted where
    that chip is, and passed over elsewhere; with nothing measured, fp32 comes after the precisions
    that were built to be faster. Then by latency, and last what nothing has judged."""
    if "batch_1_p50_ms" in variant.speed:
        return 1, variant.speed["batch_1_p50_ms"]
    if "judged_by" in variant.parity:
        return 0, float(variant.precision == "fp32")
    return 2, 0.0


def _merged(
    out: Path,
    source: Checkpoint,
    rule: CropRule,
    new: list[Candidate],
    existing: Bundle | None,
    refused: dict[str, Any],
) -> tuple[Bundle, dict[str, bytes]]:
    """The bundle to write: new variants replace those of the same name, the others stay. refused:
    variants that were tried and are not worth having, with their figures."""
    contents: dict[str, bytes] = {}
    variants = [c.variant for c in new]
    for c in new:
        contents |= c.artifact.files
    names = {variant.name for variant in variants}
    for variant in existing.variants if existing else ():
        if existing and variant.name not in names:
            contents = {**existing.read(variant), **contents}
            variants.append(variant)
    variants.sort(key=_preference)
    facts = source.facts
    earlier = existing.provenance.get("refused", {}) if existing else {}
    earlier = {name: why for name, why in earlier.items() if name not in names}
    provenance = {
        "checkpoint_sha256": source.sha256,
        "backbone": source.spec.backbone,
        "recipe": facts.get("recipe", {}).get("name"),
        "seed": facts.get("recipe", {}).get("seed"),
        "data": facts.get("data", {}),
        "licences": facts.get("licences", {}),
        "refused": earlier | refused,
    }
    bundle = Bundle(
        path=out,
        labels=source.spec.labels,
        crop=rule,
        temperature=source.temperature,
        abstain_below=source.abstain_below,
        embedding_dim=source.model.embedding_dim,
        provenance=provenance,
        variants=tuple(variants),
    )
    return bundle, contents
