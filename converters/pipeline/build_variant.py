"""A variant from its recipe to its verdict: built, loaded by an engine, judged on real faces."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from fer_edge.backends.base import Options, Outputs, Session, backend
from fer_edge.bundle import Variant, listed
from fer_edge.converters.base import Artifact, ConversionInput, QuantizationRecipe, converter
from fer_edge.converters.pipeline.assemble_bundle import assemble
from fer_edge.converters.pipeline.crash_probe import crash_reason
from fer_edge.converters.pipeline.face_samples import FaceSamples
from fer_edge.converters.pipeline.parity import (
    ParityLimits,
    compare,
    failures,
    prove_batches,
    run_all,
)
from fer_edge.converters.pipeline.recipe_search import best_recipe
from fer_edge.errors import ConversionError
from fer_edge.machine import cpu_name
from fer_edge.preprocess import CropRule
from fer_edge.progress import Say
from fer_edge.training.checkpoint import Checkpoint
from fer_edge.training.deploy import DeployModule


@dataclass(frozen=True)
class BuiltVariant:
    """A variant that is built, but not yet written.

    session: what judges it: its engine, or a stand-in where ``unable`` says why that cannot run
    here; None where there is no stand-in either. search: the recipes that were tried.
    """

    variant: Variant
    artifact: Artifact
    session: Session | None
    unable: str | None = None
    search: list[dict[str, Any]] = field(default_factory=list)


def torch_outputs(checkpoint: Checkpoint, images: npt.NDArray[np.uint8]) -> Outputs:
    """The reference: the deploy graph in torch, fp32, on the CPU. images: as in FaceSamples."""
    module = DeployModule(checkpoint)
    with torch.inference_mode():
        parts = [module(part) for part in torch.split(torch.from_numpy(images), 64)]
    return (
        np.concatenate([p.numpy() for p, _ in parts]),
        np.concatenate([e.numpy() for _, e in parts]),
    )


@dataclass(frozen=True)
class ParityCheck:
    """Faces and reference outputs that every variant is verified against.

    Attributes:
        reference: Outputs of the checkpoint in torch for the gate's faces.
        gate: Faces that verify.
        calibration: Faces that calibrated int8, for the record.
        labels: Names of the classes, in the order of the outputs.
        allow_drop: Accuracy, as a share (0..1), that reduced precisions may lose; None requires
            agreement instead.
    """

    reference: Outputs
    gate: FaceSamples
    calibration: FaceSamples
    labels: Sequence[str]
    allow_drop: float | None = None


def build_variant(
    target: str, precision: str, source: ConversionInput, rule: CropRule, say: Say
) -> BuiltVariant:
    """One variant, loaded by its engine if that is here and survives it; see BuiltVariant.

    Raises ConversionError, TargetError, EngineError.
    """
    started = time.monotonic()
    recipe, log = _recipe(target, precision, source, rule, say)
    artifact = converter(target).build(source, precision, recipe)
    candidate = replace(_loaded(target, precision, artifact, source, rule), search=log)
    say(f"Built {candidate.variant.name} in {time.monotonic() - started:.1f} s")
    return candidate


def _recipe(
    target: str, precision: str, source: ConversionInput, rule: CropRule, say: Say
) -> tuple[QuantizationRecipe, list[dict[str, Any]]]:
    """The recipe that keeps the most decisions on the calibration faces, and the search's log."""
    recipes = converter(target).recipes(source, precision)
    if len(recipes) < 2:
        return (recipes[0] if recipes else {}), []
    expected = torch_outputs(source.checkpoint, source.calibration)[0]
    anywhere = replace(source, gpus=())  # engines are compiled for the chosen recipe alone

    def agreement(recipe: QuantizationRecipe) -> float | None:
        artifact = converter(target).build(anywhere, precision, recipe)
        candidate = _loaded(target, precision, artifact, source, rule)
        if candidate.session is None:
            return None
        with contextlib.closing(candidate.session):
            answers = run_all(candidate.session, source.calibration)[0]
        kept = answers.argmax(1) == expected.argmax(1)
        if precision == "fp32":  # decisions can agree by luck where the arithmetic is wrong
            kept &= np.abs(answers - expected).max(1) <= ParityLimits().fp32_max_abs_dp
        return float(kept.mean())

    return best_recipe(recipes, agreement, say)


def _loaded(
    target: str, precision: str, artifact: Artifact, source: ConversionInput, rule: CropRule
) -> BuiltVariant:
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
    unable = engine.preflight(variant, Options())
    if unable is not None:
        stand_in = artifact.reference_session
        return BuiltVariant(variant, artifact, stand_in() if stand_in else None, unable)
    bundle, contents = assemble(
        Path("probe.fer"), source.checkpoint, rule, variants=[variant], files=artifact.files
    )
    unable = crash_reason(bundle, contents)
    if unable is not None:
        return BuiltVariant(variant, artifact, None, unable)
    return BuiltVariant(variant, artifact, engine.load(variant, artifact.files, Options()))


def verify_variant(built: BuiltVariant, check: ParityCheck, say: Say) -> Variant:
    """Return the variant with its parity report.

    Args:
        built: Variant with an open session.
        check: Faces and reference outputs to compare with.
        say: Receives the verdict.

    Returns:
        The variant. Its report lists the limits that it breaks; none means that it passed.

    Raises:
        EngineError: The engine fails on a face.
    """
    variant = built.variant
    assert built.session is not None
    outputs = run_all(built.session, check.gate.images)
    report: dict[str, Any] = compare(check.reference, outputs, check.gate.truth, check.labels)
    broken = failures(report, variant.precision, ParityLimits(), check.allow_drop)
    try:
        report["batch_sizes"] = prove_batches(built.session, check.gate.images, outputs)
    except ConversionError as error:
        broken = [*broken, str(error)]
    report |= {
        "faces": check.gate.as_dict(),
        "allowed_drop": check.allow_drop,
        "failures": broken,
        "machine": cpu_name(),
    }
    if built.unable is not None:
        report["judged_by"] = (
            f"{built.artifact.verified_by} in place of the engine, which has not run anywhere "
            f"yet: {built.unable}"
        )
    if variant.precision in ("int8", "w8a8"):
        report["calibration"] = check.calibration.as_dict()
    if built.search:
        report["search"] = built.search
    say(
        f"  {variant.name}: accuracy {100 * report['accuracy']:.2f} % "
        f"({100 * report['accuracy_change']:+.2f} points), agreement "
        f"{100 * report['agreement']:.2f} %, max |dp| {report['max_abs_dp']:.1e}"
        + (f"  FAILED: {', '.join(broken)}" if broken else "")
    )
    return replace(variant, parity=report)
