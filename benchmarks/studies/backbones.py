"""Backbones: bundles against their checkpoint in torch, one face at a time.

    python -m fer_edge.benchmarks.studies.backbones FOLDER

FOLDER holds NAME.fer, and the checkpoint of each as checkpoints/NAME; ``scripts/bench-backbones``
makes them. In turns: torch eager, torch.compile, and ``predictor.predict_batch`` of each variant
that runs here, with one 200 px BGR crop (torch and benchmark_app get ready tensors). The table also
shows the share of the processor's peak that each uses. It is written to FOLDER/backbones.md.
"""

from __future__ import annotations

import statistics
import sys
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import click
import numpy as np

from fer_edge import InputError, Predictor, TargetError, Variant, open_bundle
from fer_edge.atomic import write_file
from fer_edge.backends.openvino import ARITHMETIC
from fer_edge.benchmarks.job import CROP_PX, noise
from fer_edge.benchmarks.machine.environment import environment, machine, noise_note
from fer_edge.benchmarks.measure.percentile_ratio import percentile_ratio
from fer_edge.benchmarks.measure.timing import Call, Samples, interleaved
from fer_edge.benchmarks.references.baselines import TORCH_COMPILE, TORCH_EAGER
from fer_edge.benchmarks.references.in_child import ChildReference
from fer_edge.benchmarks.references.vendor_tools import benchmark_app
from fer_edge.benchmarks.studies.options import PATH
from fer_edge.benchmarks.studies.peak import operations, peak_per_s
from fer_edge.module_command import ModuleCommand
from fer_edge.page import markdown_table
from fer_edge.training.checkpoint import load_checkpoint
from fer_edge.training.deploy import DeployModule

_ROUNDS, _ROUND_S, _APP_S, _SAMPLES, _BLOCK = 3, 20.0, 4.0, 96, 8
HEADER = (
    "network",
    "GMAC",
    "runs in",
    "p50 ms",
    f"against {TORCH_EAGER} (95 %)",
    f"against {TORCH_COMPILE}",
    "against onnxruntime/fp32",
    "benchmark_app p50 ms",
    "ours / benchmark_app's",
    "share of peak",
    "agreement",
)


@dataclass
class _Measured:
    """Measurements of one bundle, collected over several rounds.

    Attributes:
        variants: Variants that run here, by name.
        latencies: Samples of each callable, one for each round.
        peaks: Peak operations per second by precision, one for each round.
        app_p50_ms: Medians of benchmark_app in ms by variant, one for each round.
    """

    variants: dict[str, Variant] = field(default_factory=dict)
    latencies: dict[str, list[Samples]] = field(default_factory=dict)
    peaks: dict[str, list[float]] = field(default_factory=dict)
    app_p50_ms: dict[str, list[float]] = field(default_factory=dict)


def rows(bundle: Path, checkpoint: Path) -> list[list[str]]:
    """Return a row for torch, torch.compile and each variant that runs."""
    operations_per_face = operations(DeployModule(load_checkpoint(checkpoint)))
    measured = _measure(bundle, checkpoint)
    samples = {
        name: Samples(np.concatenate([part.ns for part in parts]))
        for name, parts in measured.latencies.items()
    }
    return [
        [
            bundle.stem,
            f"{operations_per_face / 2e9:.2f}",
            name,
            *_cells(measured, samples, name, operations_per_face),
        ]
        for name in samples
    ]


def _measure(bundle: Path, checkpoint: Path) -> _Measured:
    measured = _Measured()
    size_px = open_bundle(bundle).crop.size_px
    crop, ready = noise(1, CROP_PX)[0], noise(1, size_px)
    calls: dict[str, Call] = {}
    with ExitStack() as stack:
        for name in (TORCH_EAGER, TORCH_COMPILE):
            reference = ChildReference(checkpoint, compiled=name == TORCH_COMPILE)
            stack.callback(reference.close)
            calls[name] = reference.at(ready.shape)
        for variant in open_bundle(bundle).variants:
            try:
                predictor = Predictor(bundle, variant.target, variant.precision)
            except TargetError as error:
                print(f"  {variant.name} does not run here: {error}", file=sys.stderr)
                continue
            calls[variant.name] = partial(stack.enter_context(predictor).predict_batch, [crop])
            measured.variants[variant.name] = variant
        for number in range(_ROUNDS):  # a shared machine is faster in one minute than in the next
            print(f"  {bundle.stem}: round {number + 1} of {_ROUNDS}", file=sys.stderr)
            _measure_round(measured, bundle, calls)
    return measured


def _measure_round(measured: _Measured, bundle: Path, calls: dict[str, Call]) -> None:
    precisions = {variant.precision for variant in measured.variants.values()}
    for precision in sorted(precisions & set(ARITHMETIC)):
        measured.peaks.setdefault(precision, []).append(peak_per_s(precision))
    latencies = interleaved(calls, _SAMPLES, warm_up=3, block=_BLOCK, budget_s=_ROUND_S)
    for name, samples in latencies.items():
        measured.latencies.setdefault(name, []).append(samples)
    for name, variant in measured.variants.items():
        if variant.target == "openvino":
            report = benchmark_app(bundle, variant, 1, "latency", _APP_S)
            measured.app_p50_ms.setdefault(name, []).append(report.p50_ms)


def _cells(
    measured: _Measured, samples: dict[str, Samples], name: str, operations_per_face: int
) -> list[str]:
    variant = measured.variants.get(name)
    p50_ms = float(np.median(samples[name].ns)) / 1e6
    share = ""
    if peaks := measured.peaks.get(variant.precision if variant else "fp32"):
        share = f"{operations_per_face / (p50_ms / 1e3) / statistics.median(peaks):.0%}"
    app_ms = statistics.median(measured.app_p50_ms[name]) if name in measured.app_p50_ms else None
    agreement = variant.parity.agreement if variant and variant.parity else None
    return [
        f"{p50_ms:.2f}",
        _against(samples, TORCH_EAGER, name, interval=True),
        _against(samples, TORCH_COMPILE, name),
        _against(samples, "onnxruntime/fp32", name),
        "" if app_ms is None else f"{app_ms:.2f}",
        "" if app_ms is None else f"{p50_ms / app_ms:.2f}x",
        share,
        "" if agreement is None else f"{agreement:.2%}",
    ]


def _against(
    samples: dict[str, Samples], baseline: str, name: str, *, interval: bool = False
) -> str:
    if baseline == name or baseline not in samples:
        return ""
    ratio, low, high = percentile_ratio(samples[baseline].ns, samples[name].ns, 50, paired=True)
    return f"{ratio:.2f}x ({low:.2f} to {high:.2f})" if interval else f"{ratio:.2f}x"


@click.command("backbones", cls=ModuleCommand)
@click.argument("folder", type=PATH)
def main(folder: Path) -> None:
    """Measure the bundles of FOLDER, and print and write the table."""
    bundles = sorted(folder.glob("*.fer"))
    if not bundles:
        raise InputError(
            f"expected bundles, NAME.fer, in {folder}, got none. Make them: "
            f"scripts/bench-backbones {folder}"
        )
    env = environment()
    about = f"{machine(env)}, {env['time']}. {noise_note(env) or 'The machine was quiet.'}"
    cells: list[list[str]] = []
    for bundle in bundles:
        cells += rows(bundle, folder / "checkpoints" / bundle.stem)
        write_file(folder / "backbones.md", f"{about}\n\n{markdown_table(HEADER, cells)}".encode())
    print(f"{about}\n\n{markdown_table(HEADER, cells)}")


if __name__ == "__main__":
    main()
