"""Bundles against their checkpoint in torch, one face at a time, with the share of the machine's
arithmetic that they use: a table of one run.

    python -m fer_edge.benchmarks.studies.backbones FOLDER

FOLDER holds NAME.fer, and the checkpoint of each as checkpoints/NAME: ``scripts/bench-backbones``
makes them. In turns: torch eager, torch.compile, and each variant that runs here, as
``predictor.predict_batch`` of one 200 px BGR crop (torch and benchmark_app get ready tensors).
Writes FOLDER/backbones.md.
"""

from __future__ import annotations

import statistics
import sys
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import numpy as np

from fer_edge import Predictor, TargetError, Variant, open_bundle
from fer_edge.atomic import write_file
from fer_edge.benchmarks.job import CROP_PX
from fer_edge.benchmarks.machine.environment import environment, machine, noise_note
from fer_edge.benchmarks.measure.percentile_ratio import percentile_ratio
from fer_edge.benchmarks.measure.timing import Call, Samples, interleaved
from fer_edge.benchmarks.references.baselines import TORCH_COMPILE, TORCH_EAGER
from fer_edge.benchmarks.references.in_torch import in_torch
from fer_edge.benchmarks.references.vendor_tools import ARITHMETIC, benchmark_app
from fer_edge.benchmarks.studies.peak import operations, peak_per_s
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
    "ours / its",
    "share of peak",
    "agreement",
)


def rows(bundle: Path, checkpoint: Path) -> list[list[str]]:
    """One row of cells for torch, torch.compile, and each variant that runs here."""
    content = open_bundle(bundle)
    count = operations(DeployModule(load_checkpoint(checkpoint)))
    rng = np.random.default_rng(0)
    crop = rng.integers(0, 256, (CROP_PX, CROP_PX, 3), np.uint8)
    ready = rng.integers(0, 256, (1, content.crop.size_px, content.crop.size_px, 3), np.uint8)
    calls: dict[str, Call] = {
        TORCH_EAGER: partial(in_torch(checkpoint), ready),
        TORCH_COMPILE: partial(in_torch(checkpoint, compiled=True), ready),
    }
    variants: dict[str, Variant] = {}
    app: dict[str, list[float]] = {}
    peaks: dict[str, list[float]] = {}
    parts: dict[str, list[Samples]] = {}
    with ExitStack() as stack:
        for variant in content.variants:
            try:
                predictor = Predictor(bundle, variant.target, variant.precision)
            except TargetError as error:
                print(f"  {variant.name} not here: {error}", file=sys.stderr)
                continue
            calls[variant.name] = partial(stack.enter_context(predictor).predict_batch, [crop])
            variants[variant.name] = variant
        for turn in range(_ROUNDS):  # a shared machine is faster in one minute than in the next
            print(f"  {bundle.stem}: round {turn + 1} of {_ROUNDS}", file=sys.stderr)
            for precision in sorted({v.precision for v in variants.values()} & set(ARITHMETIC)):
                peaks.setdefault(precision, []).append(peak_per_s(precision))
            taken = interleaved(calls, _SAMPLES, warm_up=3, block=_BLOCK, budget_s=_ROUND_S)
            for name, samples in taken.items():
                parts.setdefault(name, []).append(samples)
            for name, variant in variants.items():
                if variant.target == "openvino":
                    told = benchmark_app(bundle, variant, 1, "latency", _APP_S)
                    app.setdefault(name, []).append(told.p50_ms)
    whole = {name: Samples(np.concatenate([p.ns for p in each])) for name, each in parts.items()}
    found = []
    for name, samples in whole.items():
        p50_ms = float(np.median(samples.ns)) / 1e6
        precision = variants[name].precision if name in variants else "fp32"
        share = ""
        if precision in peaks:
            share = f"{count / (p50_ms / 1e3) / statistics.median(peaks[precision]):.0%}"
        its_ms = statistics.median(app[name]) if name in app else None
        parity = variants[name].parity if name in variants else None
        found.append(
            [
                bundle.stem,
                f"{count / 2e9:.2f}",
                name,
                f"{p50_ms:.2f}",
                _against(whole, TORCH_EAGER, name, interval=True),
                _against(whole, TORCH_COMPILE, name),
                _against(whole, "onnxruntime/fp32", name),
                "" if its_ms is None else f"{its_ms:.2f}",
                "" if its_ms is None else f"{p50_ms / its_ms:.2f}x",
                share,
                "" if parity is None or parity.agreement is None else f"{parity.agreement:.2%}",
            ]
        )
    return found


def _against(whole: dict[str, Samples], baseline: str, name: str, *, interval: bool = False) -> str:
    if baseline == name or baseline not in whole:
        return ""
    ratio, low, high = percentile_ratio(whole[baseline].ns, whole[name].ns, 50, paired=True)
    return f"{ratio:.2f}x ({low:.2f} to {high:.2f})" if interval else f"{ratio:.2f}x"


def main() -> int:
    folder = Path(sys.argv[1])
    env = environment()
    about = f"{machine(env)}, {env['time']}. {noise_note(env) or 'The machine was quiet.'}"
    found: list[list[str]] = []
    for bundle in sorted(folder.glob("*.fer")):
        found += rows(bundle, folder / "checkpoints" / bundle.stem)
        write_file(folder / "backbones.md", f"{about}\n\n{markdown_table(HEADER, found)}".encode())
    print(f"{about}\n\n{markdown_table(HEADER, found)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
