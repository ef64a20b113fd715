"""A measurement: every variant that runs here in one scenario, as plain values."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from fer_edge import DEFAULT_BUNDLE, InputError, Predictor, TargetError, open_bundle
from fer_edge.benchmarks.job import CROP_PX, Job, Ready
from fer_edge.benchmarks.machine.environment import cpu_seconds, environment, noise, noise_note
from fer_edge.benchmarks.measure.accuracy import accuracy, mark_front
from fer_edge.benchmarks.references.against import load_against
from fer_edge.benchmarks.references.loadgen import check_loadgen, loadgen
from fer_edge.benchmarks.references.vendor_tools import TOOLS
from fer_edge.benchmarks.scenarios.registry import SCENARIOS, TORCH_COMPILE, TORCH_EAGER
from fer_edge.progress import Step, silent

SCHEMA = 2
"""2: percentiles are of the steady state; rows carry their samples and the scenario's figures."""


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
    hz: float = 30.0,
    deadline_ms: float | None = None,
    step: Step = silent,
) -> dict[str, Any]:
    """Measure every variant that runs here; gives the report as plain values.

    bundle: None means the shipped one. batch_sizes: None means the scenario's own. scenario: a
    name in SCENARIOS. target, precision: only such variants; None means all. checkpoint: the
    folder that torch eager runs, for the ratio against it; None leaves torch out. budget_s: time
    for each batch size, all variants together; percentiles without enough samples stay None.
    hz, deadline_ms: of a stream; no deadline means one period. against: ``module:function``, or
    ``torch.compile`` of the checkpoint, to measure in turns with ours; or a name in TOOLS. data,
    split: labelled faces for accuracy beside speed.
    loadgen_logs: a folder; the official LoadGen then drives the same scenario and logs there.

    Latency is ``predictor.predict_batch`` of 200x200 BGR crops: resize and answers included.
    Raises InputError, BundleError, EngineError, and TargetError if nothing that fits runs here.
    """
    if scenario not in SCENARIOS:
        raise InputError(f"expected a scenario of {', '.join(SCENARIOS)}, got {scenario!r}")
    work, own_sizes = SCENARIOS[scenario]
    sizes = own_sizes if batch_sizes is None else batch_sizes
    if not sizes or min(sizes) < 1:
        raise InputError(f"expected batch sizes of at least 1, got {list(sizes)}")
    path = DEFAULT_BUNDLE if bundle is None else Path(bundle)
    content = open_bundle(path)
    env = environment()
    with ExitStack() as stack:
        predictors, refused = _open(path, target, precision, stack)
        references: dict[str, Ready] = {}
        tool = None
        if checkpoint is not None and scenario in ("batch", "single"):
            references[TORCH_EAGER] = _in_torch(checkpoint)
        size_px = content.crop.size_px
        if against is not None:
            if scenario not in ("batch", "single"):
                raise InputError(f"expected --against with batch or single, got {scenario}")
            if against in TOOLS:
                tool = against
            elif against != TORCH_COMPILE:
                references[against] = load_against(against, size_px)
            elif checkpoint is not None:
                references[against] = _in_torch(checkpoint, compiled=True)
            else:
                raise InputError(f"expected a checkpoint with --against {against}: --checkpoint")
        if loadgen_logs is not None:
            check_loadgen(scenario)
        judged = {} if data is None else accuracy(predictors, data, split, step)
        job = Job(
            path, size_px, predictors, sizes, budget_s, step, hz, deadline_ms, references, tool
        )
        before = cpu_seconds()
        parts = work(job)
        disturbed = noise(before, cpu_seconds(), parts["rows"])
        for row in parts["rows"]:
            row.update(judged.get(row["variant"], {}))
        mark_front(parts["rows"])
        if loadgen_logs is not None:
            parts["loadgen"] = loadgen(job, scenario, Path(loadgen_logs))
    return {
        "schema": SCHEMA,
        "scenario": scenario,
        "bundle": {"path": str(path), "sha256": content.sha256},
        "environment": env,
        "noise": disturbed,
        "note": noise_note(env, disturbed),
        "crop_px": CROP_PX,
        "refused": refused,
        **parts,
    }


def _open(
    path: Path, target: str | None, precision: str | None, stack: ExitStack
) -> tuple[dict[str, Predictor], list[dict[str, str]]]:
    """The variants that were asked for and run here, by name; and why each other one does not."""
    predictors: dict[str, Predictor] = {}
    refused = []
    wanted = [
        variant
        for variant in open_bundle(path).variants
        if target in (None, variant.target) and precision in (None, variant.precision)
    ]
    if not wanted:
        raise TargetError(
            f"expected a variant {target or 'any'}/{precision or 'any'} in {path}, it has "
            f"{', '.join(v.name for v in open_bundle(path).variants)}"
        )
    for variant in wanted:
        try:
            predictor = Predictor(path, variant.target, variant.precision)
        except TargetError as error:
            refused.append({"variant": variant.name, "reason": str(error)})
            continue
        predictors[variant.name] = stack.enter_context(predictor)
    if not predictors:
        raise TargetError("; ".join(item["reason"] for item in refused))
    return predictors, refused


def _in_torch(checkpoint: str | Path, *, compiled: bool = False) -> Ready:
    from fer_edge.benchmarks.references.in_torch import (
        in_torch,  # torch is not part of the bench extra
    )

    return in_torch(checkpoint, compiled=compiled)
