"""Verification of a built variant on faces: its parity report, and the sentences about it."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations

import numpy as np
import numpy.typing as npt

from fer_edge.backends.base import Options, Outputs, backend, simulator
from fer_edge.bundle import Variant
from fer_edge.converters.pipeline.build_variant import BuiltVariant
from fer_edge.converters.pipeline.face_samples import MIN_GATE_FACES, FaceSamples
from fer_edge.converters.pipeline.gate import Bar, ParityLimits, failures, judge
from fer_edge.converters.pipeline.own_int8 import is_calibrated
from fer_edge.converters.pipeline.parity import compare, prove_batches, run_all
from fer_edge.errors import ConversionError
from fer_edge.execution import Execution
from fer_edge.machine import cpu_name
from fer_edge.parity import FileParity, JudgedBy, ParityReport
from fer_edge.progress import Say
from fer_edge.verdict import FAILED, PASSED, UNDECIDED, Judgement

_FILE_FACES = 500
"""Largest number of faces that two engines run the same file on."""


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
        answers: Probabilities of the variants so far, by name.
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
    images = check.gate.images
    outputs = run_all(built.session, images, check.budget_s, MIN_GATE_FACES, built.at_once)
    faces = check.gate.first(len(outputs[0]))
    execution = _execution(built, faces)
    same_file = _file_parity(built, faces, outputs)
    report = replace(_report(built, check, faces, outputs, execution), file_parity=same_file)
    more = "--data" if len(faces.images) == len(check.gate.images) else "--judge-seconds"
    say(f"  {variant.name}: {_summary(report, more)}")
    for fact in (execution, same_file):
        if fact is not None:
            say(f"    {fact}")
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
    calibrated = is_calibrated(variant.target, variant.precision, check.quantised)
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


def _is_rounded(name: str) -> bool:
    """Return True if the ranges of this variant come from faces or from the checkpoint."""
    target, _, precision = name.partition("/")
    return precision in backend(target).FACTS.quantised


def _batch_sizes(
    built: BuiltVariant, faces: FaceSamples, outputs: Outputs
) -> tuple[list[int], list[str]]:
    """Return the batch sizes that give the same answers, or none and the reason."""
    assert built.session is not None
    try:
        return prove_batches(
            built.session,
            faces.images,
            outputs,
            _is_rounded(built.variant.name),
        ), []
    except ConversionError as error:
        return [], [str(error)]


def _judge(built: BuiltVariant) -> JudgedBy | None:
    """Return what replaced the chip's engine; None if nothing did."""
    if built.unable:
        return JudgedBy(built.artifact.verified_by, built.unable)
    simulated = simulator(built.variant.target, Options())
    return JudgedBy(simulated, "this machine has no such chip") if simulated else None


def _file_parity(built: BuiltVariant, faces: FaceSamples, outputs: Outputs) -> FileParity | None:
    """Compare the engine with its stand-in on the same file."""
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


def between_engines(check: ParityCheck) -> list[str]:
    """Compare each pair of int8 variants on the faces that both ran.

    Of a quantised network, Core ML's int8 is one of them; of a float network it has int8 weights
    alone.

    Args:
        check: Check with the answers of the variants that were verified.

    Returns:
        A sentence for each pair.
    """
    engines = [
        (name, answers)
        for name, answers in sorted(check.answers.items())
        if check.quantised or _is_rounded(name)
    ]
    sentences = []
    for (first, ones), (second, others) in combinations(engines, 2):
        faces = min(len(ones), len(others))
        one, two = ones[:faces], others[:faces]
        equal = one.argmax(1) == two.argmax(1)
        sure = np.maximum(one.max(1), two.max(1)) >= np.float32(check.abstain_below)
        answered = f", {equal[sure].mean():.2%} of the answered ones" if sure.any() else ""
        sentences.append(
            f"{first} decides as {second} on {equal.mean():.2%} of {faces:,} faces{answered}; "
            f"max |dp| {np.abs(one - two).max():.1e}"
        )
    return sentences


def _execution(built: BuiltVariant, faces: FaceSamples) -> Execution | None:
    """Return the layers that the engine ran on each device.

    None if the engine does not run here or cannot report it.
    """
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
