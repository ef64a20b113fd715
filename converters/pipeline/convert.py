"""Conversion of a checkpoint into a bundle, all or nothing."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from fer_edge.atomic import check_place, make_place
from fer_edge.bundle import Bundle, Variant, open_bundle, write_bundle
from fer_edge.converters.pipeline.assemble_bundle import assemble, refusal
from fer_edge.converters.pipeline.build_requested import Lenience, build_and_verify
from fer_edge.converters.pipeline.build_variant import BuiltVariant
from fer_edge.converters.pipeline.face_samples import (
    FaceSamples,
    calibration_if_any,
    parity_faces,
)
from fer_edge.converters.pipeline.origin import check_origin
from fer_edge.converters.pipeline.own_int8 import needs_faces, without_rivals
from fer_edge.converters.pipeline.prepare import JUDGE_SECONDS, Settings, prepare
from fer_edge.converters.pipeline.quick_latency import beaten, single_face_p50_ms
from fer_edge.converters.pipeline.request import (
    ALL,
    AUTO,
    check_batch_sizes,
    check_chips,
    check_lists,
    requested_variants,
)
from fer_edge.errors import BundleError, ParityError
from fer_edge.lock import locked
from fer_edge.machine import cpu_name
from fer_edge.manifest import check_names
from fer_edge.parity import RefusedVariant, Speed
from fer_edge.preprocess import CROP_MARGIN, CropRule
from fer_edge.progress import Say
from fer_edge.training.checkpoint import Checkpoint, load_checkpoint


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
    socs: Sequence[str] = (),
    workspace_mib: int | None = None,
    judge_seconds: float = JUDGE_SECONDS,
    seed: int = 2026,
    name: str | None = None,
    version: str | None = None,
    say: Say = print,
) -> Bundle:
    """Convert a checkpoint into a new bundle, or extend an old one.

    With ``all`` or ``auto`` among the precisions, a variant that cannot run on this machine, whose
    engine fails, or that fails its parity gate is left out and reported. Precisions given by name
    raise an error instead. A variant that too few faces judge is written if each observed figure is
    within its limit. It comes last and has its verdict. Otherwise it is left out like a failed one.
    The bundle's ``provenance["refused"]`` lists each variant that was built and left out, with its
    figures. If an existing bundle has such a variant from an earlier conversion, that one is
    removed if the new one failed. It stays if too few faces judged the new one, or if another
    variant is faster.

    Args:
        checkpoint: Checkpoint folder.
        targets: Names of converters (``onnxruntime``, ``openvino``), or ``all`` for those whose
            libraries are installed.
        out: Bundle folder to write, ``NAME.fer``.
        precisions: Names of precisions, ``all`` or ``auto``; see ALL and AUTO.
        data: Labelled faces. Their ``val`` part verifies, their ``train`` part calibrates int8.
            None takes the composite faces that ship with the package: 4,000 that are made from
            them verify.
        calibrate: Other faces for the calibration of int8.
        allow_drop: Accuracy, as a share (0..1), that reduced precisions may lose. The bundle
            records it.
        allow_unproven: Also write variants that nothing on this machine can verify, marked so.
        batch_sizes: Batch sizes to build engines for; see ConversionInput.
        gpus: GPUs to compile engines for; see ConversionInput.
        socs: Qualcomm chips to compile context binaries for; see ConversionInput.
        workspace_mib: GPU memory for one layer, in MiB; see ConversionInput.
        judge_seconds: Seconds after which a variant is judged on the faces so far.
        seed: Seed of the calibration sample.
        name: Name of the model in the bundle. None keeps that of an existing bundle; a new one
            gets the folder's stem.
        version: Version of the model in the bundle. None keeps that of an existing bundle; a new
            one gets "0".
        say: Receives each sentence of progress.

    Returns:
        The bundle, read back from ``out``.

    Raises:
        ParityError: A variant whose target and precision are named fails its gate, or none passes.
            Nothing is written.
        ConversionError: A variant cannot be built or cannot be verified, or all are left out.
        EngineError: An engine fails on a variant whose target and precision are named.
        MissingDependencyError: The library of a named target is not installed.
        TargetError: A target, a precision, a GPU or a Qualcomm chip is unknown.
        BundleError: ``out`` holds another checkpoint or is damaged.
        CheckpointError: The checkpoint cannot be read, or its answers are not numbers.
        DataError: The faces cannot be read, or are too few.
        InputError: The name or the version is too long or has control characters, a list is no
            list, a batch size is out of range or none is given, or the seed is negative.
    """
    out = Path(out)
    check_names(name or out.stem, version)
    check_lists(targets=targets, precisions=precisions, gpus=gpus, socs=socs)
    source = load_checkpoint(checkpoint)
    requested = requested_variants(targets, precisions)
    check_chips(gpus, socs)
    check_batch_sizes(batch_sizes)
    if ALL in precisions or AUTO in precisions:
        requested = without_rivals(source, requested)
    _existing(out, source)  # refused before minutes of work
    try:
        check_place(out, folder=True)
    except OSError as error:
        raise _unwritable(out, error) from error
    rule = CropRule(source.spec.input.size_px, CROP_MARGIN)
    needed = needs_faces(source, requested)
    gate, calibration = _faces(_path(data), _path(calibrate), needed, source, rule, seed, say)
    settings = Settings(
        allow_drop,
        tuple(batch_sizes),
        tuple(gpus),
        tuple(socs),
        workspace_mib,
        judge_seconds,
    )
    prepared = prepare(source, requested, gate, calibration, settings, say)
    lenient = Lenience(
        precisions=ALL in targets or bool({ALL, AUTO} & set(precisions)),
        libraries=ALL in targets,
        unproven=allow_unproven,
    )
    with contextlib.ExitStack() as sessions:
        verified = build_and_verify(requested, prepared, rule, lenient, sessions, say)
        passed, failed = _drop_or_fail(verified, lenient)
        timed = _with_speed(passed, gate, say)
    chosen, slower = _worth_keeping(timed) if AUTO in precisions else (timed, [])
    if not chosen:
        raise ParityError(
            "nothing was written: no variant passed its gate. Its figures are above. "
            + _advice(failed, any(_drop_helps(built) for built in failed))
        )
    refused = {built.variant.name: refusal(built.variant) for built in (*failed, *slower)}
    earlier = _write(out, source, rule, chosen, refused, (name, version))
    made = open_bundle(out)
    kept = {variant.name for variant in made.variants}
    for left_out in sorted(earlier & refused.keys()):
        if left_out in kept:
            say(f"Kept the earlier {left_out} in {out}: the new one is left out, but did not fail")
        else:
            say(f"Removed {left_out} from {out}: the new one failed")
    return made


def _faces(
    data: Path | None,
    calibrate: Path | None,
    needed: bool,
    source: Checkpoint,
    rule: CropRule,
    seed: int,
    say: Say,
) -> tuple[FaceSamples, FaceSamples]:
    """Load the faces of the gate and of the calibration, which may be none if none is needed."""
    labels = source.spec.labels
    if data is None:
        say("No --data given: parity is judged on the composite faces that ship with fer_edge.")
    gate = parity_faces(data, labels, rule)
    needed = needed or calibrate is not None
    calibration = calibration_if_any(calibrate or data, labels, rule, gate, seed, needed)
    others = f"{len(calibration.images)} others calibrate"
    if not len(calibration.images):
        others = "none is left for calibration, and none is needed"
    say(f"{len(gate.images):,} faces judge, {others}")
    return gate, calibration


def _drop_or_fail(
    verified: Sequence[BuiltVariant], lenient: Lenience
) -> tuple[list[BuiltVariant], list[BuiltVariant]]:
    """Split into passed and failed; raises ParityError for a failure that is not left out."""
    limits = {
        built.variant.name: built.variant.parity.failures
        for built in verified
        if built.variant.parity is not None and built.variant.parity.failures
    }
    broken = [built for built in verified if built.variant.name in limits]
    if broken and not lenient.precisions:
        raise ParityError(
            "nothing was written: "
            + "; ".join(f"{name}: {', '.join(failures)}" for name, failures in limits.items())
            + f". {_advice(broken, all(_drop_helps(built) for built in broken))}"
        )
    return [built for built in verified if built.variant.name not in limits], broken


def _drop_helps(built: BuiltVariant) -> bool:
    """Return True if a variant breaks limits alone that ``allow_drop`` replaces."""
    report = built.variant.parity
    judged = report.judgement.checks if report is not None and report.judgement is not None else ()
    limits = {text for check in judged for text in (str(check), check.doubt)}
    return report is not None and limits.issuperset(report.failures)


def _faces_help(built: BuiltVariant) -> bool:
    """Return True if more faces would decide each limit that a variant breaks."""
    report = built.variant.parity
    undecided = report.judgement.undecided if report and report.judgement else ()
    doubts = {check.doubt for check in undecided if check.faces_needed or not check.faces}
    return report is not None and doubts.issuperset(report.failures)


def _advice(broken: Sequence[BuiltVariant], drop_helps: bool) -> str:
    """Return what to do about the variants that break a limit."""
    if not drop_helps:
        return "Name another --precision or another --target"
    drop = "--allow-drop POINTS accepts a loss on purpose"
    if all(_faces_help(built) for built in broken):
        return f"Give more faces with --data or --judge-seconds; {drop}"
    return drop


def _worth_keeping(
    timed: Sequence[BuiltVariant],
) -> tuple[list[BuiltVariant], list[BuiltVariant]]:
    """Split into variants to keep and slower ones.

    Each target keeps its fp32, or else its fastest variant: the bundle may go to a machine
    without the engine that is faster here.
    """
    keep: list[BuiltVariant] = []
    slower: list[BuiltVariant] = []
    for built in timed:
        speed = built.variant.speed
        needed = built.variant.name in _one_a_target(timed)
        front = speed is None or speed.beaten_by is None
        (keep if front or needed else slower).append(built)
    return keep, slower


def _one_a_target(timed: Sequence[BuiltVariant]) -> set[str]:
    """Return the name of fp32, or else of the fastest variant, of each target."""

    def rank(variant: Variant) -> tuple[bool, float]:
        return variant.precision != "fp32", variant.speed.batch_1_p50_ms if variant.speed else 0.0

    chosen: dict[str, Variant] = {}
    for variant in sorted((built.variant for built in timed), key=rank):
        chosen.setdefault(variant.target, variant)
    return {variant.name for variant in chosen.values()}


def _write(
    out: Path,
    source: Checkpoint,
    rule: CropRule,
    chosen: Sequence[BuiltVariant],
    refused: dict[str, RefusedVariant],
    names: tuple[str | None, str | None],
) -> set[str]:
    """Merge with the bundle that is there now: another conversion may have written meanwhile.

    Return the names of the variants that were in it.
    """
    files = {path: data for built in chosen for path, data in built.artifact.files.items()}
    try:
        make_place(out, folder=True)
        with locked(out):
            existing = _existing(out, source)
            bundle, contents = assemble(
                out,
                source,
                rule,
                variants=[built.variant for built in chosen],
                files=files,
                existing=existing,
                refused=refused,
                name=names[0],
                version=names[1],
            )
            write_bundle(bundle, contents)
    except OSError as error:
        raise _unwritable(out, error) from error
    return {variant.name for variant in existing.variants} if existing else set()


def _unwritable(out: Path, error: OSError) -> BundleError:
    return BundleError(f"cannot write {out}: {error.strerror}. Choose another path with -o")


def _path(value: str | Path | None) -> Path | None:
    return None if value is None else Path(value)


def _existing(out: Path, source: Checkpoint) -> Bundle | None:
    """Open the bundle at ``out``; raises BundleError if it holds another checkpoint."""
    if out.suffix != ".fer":
        raise BundleError(f"expected a bundle name that ends in .fer, got {out}. Use -o NAME.fer")
    if not out.exists():
        return None
    bundle = open_bundle(out)
    if "adaptation" in bundle.provenance:
        raise BundleError(
            f"{out} was adapted to a camera, so new variants would answer by other thresholds. "
            "Convert into the bundle that it was adapted from, and adapt that again"
        )
    check_origin(bundle, source)
    return bundle


def _with_speed(
    variants: Sequence[BuiltVariant], gate: FaceSamples, say: Say
) -> list[BuiltVariant]:
    """Add the latency of each variant that runs here, and the faster rival."""
    others = [built for built in variants if not built.on_hardware]
    timed = [built for built in variants if built.on_hardware]
    sessions = {built.variant.name: built.session for built in timed if built.session is not None}
    p50_ms = single_face_p50_ms(sessions, gate.images[:1])
    better = _beaten([built.variant for built in timed], p50_ms)
    for built in sorted(timed, key=lambda built: p50_ms[built.variant.name]):
        name = built.variant.name
        speed = Speed(p50_ms[name], cpu_name(), better.get(name))
        note = ""
        if speed.beaten_by is not None:
            note = f"  slower here than {speed.beaten_by}, which agrees as often"
        say(f"  {name}: {p50_ms[name]:.3f} ms a face{note}")
        others.append(replace(built, variant=replace(built.variant, speed=speed)))
    return others


def _beaten(variants: Sequence[Variant], p50_ms: Mapping[str, float]) -> dict[str, str]:
    """Return the proven rival that beats each beaten variant.

    A variant that too few faces judged does not count as a rival.
    """
    reports = {v.name: v.parity for v in variants if v.parity is not None}
    agreement = {name: report.agreement for name, report in reports.items()}
    proven = {name for name, report in reports.items() if not report.undecided}
    better: dict[str, str] = {}
    for name in reports:
        rivals = proven | {name}
        beaten_by = beaten({n: p50_ms[n] for n in rivals}, agreement)
        better |= {name: beaten_by[name]} if name in beaten_by else {}
    return better
