"""Measurement of a bundle: every variant that runs here, in one scenario."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from fer_edge import InputError, Predictor, TargetError, open_bundle
from fer_edge.backends.base import Options, simulator
from fer_edge.benchmarks.arguments import check_arguments
from fer_edge.benchmarks.job import CROP_PX, Job, Ready
from fer_edge.benchmarks.machine.environment import cpu_counters, environment, noise, noise_note
from fer_edge.benchmarks.measure.accuracy import accuracy, mark_front
from fer_edge.benchmarks.references.against import load_against, prints_on_stderr
from fer_edge.benchmarks.references.baselines import TORCH_COMPILE, TORCH_EAGER
from fer_edge.benchmarks.references.in_child import ChildReference
from fer_edge.benchmarks.references.loadgen import check_loadgen, loadgen
from fer_edge.benchmarks.references.vendor_tools import TOOLS
from fer_edge.benchmarks.reports.report import SCHEMA, Executed, PlacedOperations, Refused
from fer_edge.execution import Placement
from fer_edge.explanation import executed
from fer_edge.loaded import NothingFitsError, requested_variants, unasked_simulator
from fer_edge.progress import Step, silent
from fer_edge.shipped import DEFAULT_CHECKPOINT, bundle_path


def bench(
    bundle: str | Path | None = None,
    batch_sizes: Sequence[int] | None = None,
    *,
    scenario: str = "batch",
    target: str | None = None,
    precision: str | None = None,
    checkpoint: str | Path | None = None,
    against: str | None = None,
    data: str | Path | None = None,
    split: str | None = "val",
    loadgen_logs: str | Path | None = None,
    budget_s: float = 20.0,
    hz: float | None = None,
    deadline_ms: float | None = None,
    samples: int = 0,
    step: Step = silent,
) -> dict[str, Any]:
    """Measure every variant of a bundle that runs on this machine.

    Latency is that of ``predictor.predict_batch`` with 200x200 BGR crops: resize and answers
    included.

    Args:
        bundle: Folder of the bundle; None means the shipped one.
        batch_sizes: Faces per call, or cameras, at most 4,096; None means the scenario's own.
        scenario: Name of a module of ``benchmarks.scenarios``.
        target: Measure variants of this target only.
        precision: Measure variants of this precision only.
        checkpoint: Checkpoint to time in eager PyTorch as well. None means none, but the shipped
            checkpoint for the shipped bundle (see ``_default_checkpoint``).
        against: ``module:function``, ``torch.compile`` of the checkpoint, or a name in
            ``vendor_tools.TOOLS``, to time in turns with the variants.
        data: Labelled faces to measure accuracy on as well.
        split: Part of the data; None means all of it.
        loadgen_logs: Folder for the logs of MLPerf's LoadGen, which then runs as well.
        budget_s: Seconds for each batch size, all variants together. Percentiles without enough
            samples stay None.
        hz: Frames per second of a stream; None means 30.
        deadline_ms: Deadline of a stream's frame in ms; None means one period.
        samples: Least samples of an offline row; ``budget.least_samples`` returns those that a
            limit needs.
        step: Progress callback.

    Returns:
        The report (``Report``) as plain values.

    Raises:
        InputError: An argument is unusable, or the scenario does not use it.
        BundleError: The bundle is damaged.
        EngineError: An engine or a reference failed.
        TargetError: No requested variant runs on this machine.
    """
    chosen = check_arguments(
        scenario,
        batch_sizes,
        budget_s=budget_s,
        hz=hz,
        deadline_ms=deadline_ms,
        checkpoint=checkpoint,
        against=against,
    )
    if loadgen_logs is not None:
        check_loadgen(scenario, Path(loadgen_logs))
    if checkpoint is None and bundle is None:
        restricted = target is not None or precision is not None
        checkpoint = _default_checkpoint(scenario, against, restricted)
    path = bundle_path(bundle)
    content = open_bundle(path)
    env = environment()
    with ExitStack() as stack:
        predictors, refused = _open(path, target, precision, stack)
        what_ran = _executed(path, predictors)
        for line in what_ran:
            if line["refusal"] is not None:
                predictors.pop(line["variant"])
                refused.append({"variant": line["variant"], "reason": line["refusal"]})
        if not predictors:
            raise _nothing_runs(path, refused)
        size_px = content.crop.size_px
        tool = against if against in TOOLS else None
        if tool is not None:
            _check_tool(tool, predictors)
        references = _references(checkpoint, against, size_px, stack)
        accuracies = {} if data is None else accuracy(predictors, data, split, step)
        job = Job(
            path,
            size_px,
            predictors,
            chosen.batch_sizes if batch_sizes is None else batch_sizes,
            budget_s,
            step,
            30.0 if hz is None else hz,
            deadline_ms,
            references,
            tool,
            samples,
        )
        before = cpu_counters()
        parts = chosen.run(job)
        disturbance = noise(before, cpu_counters(), parts["rows"])
        for row in parts["rows"]:
            row.update(accuracies.get(row["variant"], {}))
        mark_front(parts["rows"])
        if loadgen_logs is not None:
            parts["loadgen"] = loadgen(job, scenario, Path(loadgen_logs))
    return {
        "schema": SCHEMA,
        "scenario": scenario,
        "bundle": {"path": str(path), "sha256": content.sha256},
        "environment": env,
        "noise": disturbance,
        "note": noise_note(env, disturbance),
        "crop_px": CROP_PX,
        "refused": refused,
        "executed": what_ran,
        **parts,
    }


def _default_checkpoint(scenario: str, against: str | None, restricted: bool) -> Path | None:
    """Return the shipped checkpoint if the shipped bundle is compared with it by default.

    A single variant or a long stream must not share its time with torch unless it was requested.
    """
    complete = scenario == "batch" and not restricted
    if (complete or against == TORCH_COMPILE) and find_spec("torch") is not None:
        return DEFAULT_CHECKPOINT
    return None


def _references(
    checkpoint: str | Path | None, against: str | None, size_px: int, stack: ExitStack
) -> dict[str, Ready]:
    """Return the callables to time in turns with the variants, by name; the stack closes them."""
    references: dict[str, Ready] = {}
    if against == TORCH_COMPILE and checkpoint is None:
        raise InputError(f"expected a checkpoint with --against {against}: add --checkpoint")
    own = None
    if against is not None and against != TORCH_COMPILE and against not in TOOLS:
        stack.enter_context(prints_on_stderr())  # until the measurement ends
        own = load_against(against, size_px)  # before torch starts, which takes seconds
    if checkpoint is not None:
        references[TORCH_EAGER] = _child(checkpoint, stack, compiled=False)
    if against == TORCH_COMPILE and checkpoint is not None:
        references[against] = _child(checkpoint, stack, compiled=True)
    if against is not None and own is not None:
        references[against] = own
    return references


def _child(checkpoint: str | Path, stack: ExitStack, *, compiled: bool) -> ChildReference:
    child = ChildReference(checkpoint, compiled=compiled)
    stack.callback(child.close)
    return child


def _check_tool(tool: str, predictors: Mapping[str, Predictor]) -> None:
    """Raise InputError if the tool supports none of the variants."""
    target, _ = TOOLS[tool]
    if not any(name.startswith(f"{target}/") for name in predictors):
        raise InputError(
            f"expected a variant of {target} that runs here for --against {tool}, got "
            f"{', '.join(predictors)}. To see what runs here: fer-edge doctor"
        )


def _open(
    path: Path, target: str | None, precision: str | None, stack: ExitStack
) -> tuple[dict[str, Predictor], list[Refused]]:
    """Open the requested variants; return the predictors, and the variants that do not run."""
    predictors: dict[str, Predictor] = {}
    refused: list[Refused] = []
    for variant in requested_variants(open_bundle(path), target, precision):
        try:
            if reason := unasked_simulator(variant, target, Options()):
                refused.append({"variant": variant.name, "reason": reason})
                continue
            predictor = Predictor(path, variant.target, variant.precision)
        except TargetError as error:  # that no variant fits, or that its target is unknown
            reasons = error.reasons if isinstance(error, NothingFitsError) else {}
            reason = reasons.get(variant.name, str(error))
            refused.append({"variant": variant.name, "reason": reason})
            continue
        predictors[variant.name] = stack.enter_context(predictor)
    if not predictors:
        raise _nothing_runs(path, refused)
    return predictors, refused


def _nothing_runs(path: Path, refused: Sequence[Refused]) -> TargetError:
    reasons = "; ".join(f"{item['variant']}: {item['reason']}" for item in refused)
    return TargetError(
        f"expected a variant of {path} that runs here, but {reasons}. To see what runs here: "
        "fer-edge doctor"
    )


def _executed(path: Path, predictors: Mapping[str, Predictor]) -> list[Executed]:
    """Return what the engine of each variant runs where."""
    content = open_bundle(path)
    lines: list[Executed] = []
    for variant in content.variants:
        if variant.name not in predictors:
            continue
        execution, refusal = executed(content, variant, Options())
        line: Executed = {
            "variant": variant.name,
            "sentence": None if execution is None else str(execution),
            "refusal": refusal,
            "placements": [] if execution is None else [_placed(p) for p in execution.placements],
        }
        if simulated := simulator(variant.target, Options()):
            line["simulator"] = simulated
        lines.append(line)
    return lines


def _placed(place: Placement) -> PlacedOperations:
    return {
        "device": place.device,
        "precision": place.precision,
        "layers": place.layers,
        "others": place.others,
    }
