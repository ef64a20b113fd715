"""Variants from recipe to open session: search, build, load."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from fer_edge.backends.base import Options, Session, backend, simulator
from fer_edge.bundle import Variant, listed
from fer_edge.converters.base import Artifact, ConversionInput, QuantizationRecipe, converter
from fer_edge.converters.pipeline.assemble_bundle import assemble
from fer_edge.converters.pipeline.crash_probe import crash_reason
from fer_edge.converters.pipeline.gate import ParityLimits
from fer_edge.converters.pipeline.parity import run_all
from fer_edge.converters.pipeline.recipe_search import best_recipe
from fer_edge.converters.pipeline.simulation import simulation
from fer_edge.parity import RecipeTrial
from fer_edge.preprocess import CropRule
from fer_edge.progress import Say
from fer_edge.training.checkpoint import Checkpoint
from fer_edge.training.deploy import DeployModule
from fer_edge.training.models.quantized import QuantizedNet


@dataclass(frozen=True)
class BuiltVariant:
    """Variant that is built and not yet written.

    Attributes:
        variant: Its entry in the bundle.
        artifact: Its files.
        session: The engine, or a stand-in if the engine cannot run here, or None.
        unable: Why the engine cannot run here; None if it can.
        search: Recipes that were tried; empty if there was one.
        at_once: Number of faces that the session runs at the same time.
    """

    variant: Variant
    artifact: Artifact
    session: Session | None
    unable: str | None = None
    search: tuple[RecipeTrial, ...] = ()
    at_once: int = 1

    @property
    def on_hardware(self) -> bool:
        """True if the engine runs on its own chip, so that its latency means something."""
        return self.unable is None and simulator(self.variant.target, Options()) is None


def is_quantised(checkpoint: Checkpoint) -> bool:
    """Return True if the checkpoint's network is quantised, so that its scales are its own."""
    return isinstance(checkpoint.model, QuantizedNet)


def build_variant(
    target: str, precision: str, source: ConversionInput, rule: CropRule, say: Say
) -> BuiltVariant:
    """Build one variant and open a session that can verify it.

    The variant has the best of the recipes.

    Args:
        target: Name of the converter.
        precision: One of its precisions.
        source: Checkpoint, graph and calibration faces.
        rule: Crop rule of the bundle, for the crash probe.
        say: Receives each sentence of progress.

    Returns:
        The variant. The caller closes its session.

    Raises:
        ConversionError: No recipe could be built and run.
        TargetError: The target is unknown or its library is not installed.
        EngineError: The engine refuses the files.
    """
    started = time.monotonic()
    recipe, log = _recipe(target, precision, source, rule, say)
    artifact = converter(target).build(source, precision, recipe)
    built = replace(_loaded(target, precision, artifact, source, rule), search=log)
    say(f"Built {built.variant.name} in {time.monotonic() - started:.1f} s")
    return built


def _recipe(
    target: str, precision: str, source: ConversionInput, rule: CropRule, say: Say
) -> tuple[QuantizationRecipe, tuple[RecipeTrial, ...]]:
    """Search the recipe that keeps most decisions on the calibration faces; return the log too.

    Without faces it is the default, which the gate judges like any other.
    """
    recipes = converter(target).recipes(source, precision)
    if len(recipes) < 2 or not len(source.calibration):
        return (recipes[0] if recipes else {}), ()
    expected = DeployModule(source.checkpoint).run(source.calibration)[0]
    anywhere = replace(source, gpus=(), socs=())  # compiled for the chosen recipe alone

    def agreement(recipe: QuantizationRecipe) -> float | None:
        artifact = converter(target).build(anywhere, precision, recipe)
        session = _loaded(target, precision, artifact, source, rule).session
        if session is None:
            return None
        with contextlib.closing(session):
            answers = run_all(session, source.calibration)[0]
        equal = answers.argmax(1) == expected.argmax(1)
        if precision == "fp32":  # decisions can agree by luck although the arithmetic is wrong
            equal &= np.abs(answers - expected).max(1) <= ParityLimits().fp32_max_abs_dp
        return float(equal.mean())

    return best_recipe(recipes, agreement, say)


def _loaded(
    target: str, precision: str, artifact: Artifact, source: ConversionInput, rule: CropRule
) -> BuiltVariant:
    """Open the engine if it runs here and survives the variant, else a stand-in."""
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
    if simulator(target, Options()) is not None:
        session = simulation(bundle, contents)
        return BuiltVariant(variant, artifact, session, at_once=session.at_once)
    return BuiltVariant(variant, artifact, engine.load(variant, artifact.files, Options()))
