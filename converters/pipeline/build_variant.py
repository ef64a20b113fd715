"""Variants from recipe to parity report: build, load, verify on faces."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from fer_edge.backends.base import Options, Outputs, Session, backend, simulator
from fer_edge.bundle import Variant, listed
from fer_edge.converters.base import Artifact, ConversionInput, QuantizationRecipe, converter
from fer_edge.converters.pipeline.assemble_bundle import assemble
from fer_edge.converters.pipeline.crash_probe import crash_reason
from fer_edge.converters.pipeline.face_samples import MIN_GATE_FACES, FaceSamples
from fer_edge.converters.pipeline.gate import Bar, ParityLimits, failures, judge
from fer_edge.converters.pipeline.parity import compare, prove_batches, run_all
from fer_edge.converters.pipeline.recipe_search import best_recipe
from fer_edge.errors import ConversionError
from fer_edge.execution import Execution
from fer_edge.machine import cpu_name
from fer_edge.parity import FileParity, JudgedBy, ParityReport, RecipeTrial
from fer_edge.preprocess import CropRule
from fer_edge.progress import Say
from fer_edge.training.checkpoint import Checkpoint
from fer_edge.training.deploy import DeployModule
from fer_edge.training.models.quantized import QuantizedNet
from fer_edge.verdict import FAILED, PASSED, UNDECIDED, Judgement

_FILE_FACES = 500
"""Largest number of faces that two engines run the same file on."""
_TORCH_BATCH = 16
"""Faces in a batch of the reference: of 64, a layer's numbers do not fit into a CPU's caches."""


@dataclass(frozen=True)
class BuiltVariant:
    """Variant that is built and not yet written.

    Attributes:
        variant: Its entry in the bundle.
        artifact: Its files.
        session: The engine, or a stand-in if the engine cannot run here, or None.
        unable: Why the engine cannot run here; None if it can.
        search: Recipes that were tried; empty if there was one.
    """

    variant: Variant
    artifact: Artifact
    session: Session | None
    unable: str | None = None
    search: tuple[RecipeTrial, ...] = ()

    @property
    def on_hardware(self) -> bool:
        """True if the engine runs on its own chip, so that its latency means something."""
        return self.unable is None and simulator(self.variant.target, Options()) is None


def torch_outputs(checkpoint: Checkpoint, images: npt.NDArray[np.uint8]) -> Outputs:
    """Run the reference: the deploy graph in torch, fp32, on the CPU.

    Args:
        checkpoint: Checkpoint to run.
        images: Faces, uint8 ``[N, S, S, 3]`` BGR.

    Returns:
        Probabilities float32 ``[N, C]`` and embeddings float32 ``[N, D]``.
    """
    module = DeployModule(checkpoint)
    with torch.inference_mode():
        parts = [module(part) for part in torch.split(torch.from_numpy(images), _TORCH_BATCH)]
    return (
        np.concatenate([p.numpy() for p, _ in parts]),
        np.concatenate([e.numpy() for _, e in parts]),
    )


def is_quantised(checkpoint: Checkpoint) -> bool:
    """Return True if the checkpoint's network is quantised, so that its scales are its own."""
    return isinstance(checkpoint.model, QuantizedNet)


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
        abstain_below: Confidence (0..1) from which the Predictor answers.
        quantised: The reference is a quantised network in torch, and variants must be its equal.
        budget_s: Seconds after which a variant is judged on the faces so far; None takes all.
        answers: Probabilities of the variants so far, by name. Engines are compared with each
            other in int8.
    """

    reference: Outputs
    gate: FaceSamples
    calibration: FaceSamples
    labels: Sequence[str]
    allow_drop: float | None = None
    abstain_below: float = 0.0
    quantised: bool = False
    budget_s: float | None = None
    answers: dict[str, npt.NDArray[np.float32]] = field(default_factory=dict)


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
    """Search the recipe that keeps most decisions on the calibration faces; return the log too."""
    recipes = converter(target).recipes(source, precision)
    if len(recipes) < 2:
        return (recipes[0] if recipes else {}), ()
    expected = torch_outputs(source.checkpoint, source.calibration)[0]
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
    outputs = run_all(built.session, check.gate.images, check.budget_s, MIN_GATE_FACES)
    faces = check.gate.first(len(outputs[0]))
    execution = _execution(built, faces)
    same_file = _file_parity(built, faces, outputs)
    report = replace(_report(built, check, faces, outputs, execution), file_parity=same_file)
    more = "--data" if len(faces.images) == len(check.gate.images) else "--judge-seconds"
    say(f"  {variant.name}: {_summary(report, more)}")
    notes = [str(fact) for fact in (execution, same_file) if fact is not None]
    if _is_quantised(variant):
        notes += _between_engines(outputs[0], check)
    for note in notes:
        say(f"    {note}")
    check.answers[variant.name] = outputs[0]
    return replace(variant, parity=report)


def _report(
    built: BuiltVariant,
    check: ParityCheck,
    faces: FaceSamples,
    outputs: Outputs,
    execution: Execution | None,
) -> ParityReport:
    """Judge the outputs, the batch sizes, and what the engine ran."""
    variant, count = built.variant, len(faces.images)
    reference = check.reference[0][:count], check.reference[1][:count]
    bar = Bar(
        precision=variant.precision,
        labels=check.labels,
        abstain_below=check.abstain_below,
        quantised_reference=check.quantised,
        allow_drop=check.allow_drop,
        independent=faces.independent,
        limits=ParityLimits(),
    )
    figures = compare(reference, outputs, faces.truth, check.labels)
    judgement = judge(reference, outputs, faces.truth, bar)
    broken = failures(figures, judgement, variant.precision, bar.limits)
    batch_sizes, refusals = _batch_sizes(built, faces, outputs)
    if execution is not None and (refusal := execution.refusal(variant.precision)):
        refusals.append(refusal)
    if refusals or (variant.precision == "fp32" and broken):
        judgement = replace(judgement, verdict=FAILED)
    calibrated = _is_quantised(variant) and not check.quantised
    return ParityReport(
        **vars(figures),
        batch_sizes=tuple(batch_sizes),
        faces=faces.record,
        allowed_drop=check.allow_drop,
        failures=(*broken, *refusals),
        machine=cpu_name(),
        judged_by=_judge(built),
        calibration=check.calibration.record if calibrated else None,
        search=built.search,
        judgement=judgement,
    )


def _is_quantised(variant: Variant) -> bool:
    return variant.precision in backend(variant.target).FACTS.quantised


def _batch_sizes(
    built: BuiltVariant, faces: FaceSamples, outputs: Outputs
) -> tuple[list[int], list[str]]:
    """Return the batch sizes that give the same answers, or none and the reason."""
    assert built.session is not None
    try:
        return prove_batches(built.session, faces.images, outputs, _is_quantised(built.variant)), []
    except ConversionError as error:
        return [], [str(error)]


def _judge(built: BuiltVariant) -> JudgedBy | None:
    """Return what ran in the place of the engine on its chip; None if the chip itself did."""
    if built.unable:
        return JudgedBy(built.artifact.verified_by, built.unable)
    simulated = simulator(built.variant.target, Options())
    return JudgedBy(simulated, "this machine has no such chip") if simulated else None


def _file_parity(built: BuiltVariant, faces: FaceSamples, outputs: Outputs) -> FileParity | None:
    """Compare the engine with the one that can stand in for it, on the same file."""
    stand_in = built.artifact.reference_session
    if built.unable or stand_in is None:
        return None
    with contextlib.closing(stand_in()) as other:
        answers = run_all(other, faces.images[:_FILE_FACES])[0]
    own = outputs[0][: len(answers)]
    return FileParity(
        built.artifact.verified_by,
        len(answers),
        agreement=float((answers.argmax(1) == own.argmax(1)).mean()),
        max_abs_dp=float(np.abs(answers - own).max()),
    )


def _between_engines(probabilities: npt.NDArray[np.float32], check: ParityCheck) -> list[str]:
    """Compare an int8 variant with the int8 variants before it, on the faces that both answered."""
    sentences = []
    for other, answers in check.answers.items():
        target, _, precision = other.partition("/")
        if precision not in backend(target).FACTS.quantised:
            continue
        faces = min(len(answers), len(probabilities))
        one, two = answers[:faces], probabilities[:faces]
        equal = one.argmax(1) == two.argmax(1)
        sure = np.maximum(one.max(1), two.max(1)) >= np.float32(check.abstain_below)
        answered = f", {equal[sure].mean():.2%} of the answered ones" if sure.any() else ""
        sentences.append(
            f"decides as {other} on {equal.mean():.2%} of {faces:,} faces{answered}; "
            f"max |dp| {np.abs(one - two).max():.1e}"
        )
    return sentences


def _execution(built: BuiltVariant, faces: FaceSamples) -> Execution | None:
    """Return what the engine ran where; None if it does not run here, or cannot say."""
    trace = getattr(backend(built.variant.target), "executed", None)
    if built.unable is not None or trace is None:
        return None
    size_px = faces.images.shape[1]
    execution: Execution = trace(built.variant, built.artifact.files, Options(), size_px)
    return execution


def _summary(report: ParityReport, more: str) -> str:
    """Return the line that a conversion prints about a variant; ``more`` gives more faces."""
    judgement = report.judgement
    assert judgement is not None
    line = (
        f"accuracy {100 * report.accuracy:.2f} % ({100 * report.accuracy_change:+.2f} points), "
        f"agreement {100 * report.agreement:.2f} %{_answered(judgement)}, "
        f"max |dp| {report.max_abs_dp:.1e}, {report.faces.faces:,} faces"
    )
    if judgement.verdict == FAILED:
        return f"{line}  FAILED: {', '.join(report.failures)}"
    if judgement.verdict == PASSED:
        return f"{line}  passed"
    doubts = [check.doubt for check in judgement.undecided]
    return f"{line}  {UNDECIDED.upper()}: {'; '.join(doubts)}. Give more with {more}"


def _answered(judgement: Judgement) -> str:
    for check in judgement.checks:
        if check.name == "answered_agreement":
            return (
                f" ({100 * check.value:.2f} % of the answered ones, "
                f"{100 * check.low:.2f} to {100 * check.high:.2f})"
            )
    return ""
