"""OpenVINO's own ``benchmark_app`` on a variant's file."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from fer_edge import EngineError, Variant, open_bundle

ARITHMETIC = {"fp32": "f32", "int8": "f32", "bf16": "bf16", "fp16": "f16"}
"""Our precisions as OpenVINO's ``INFERENCE_PRECISION_HINT``; an int8 model's float rest is fp32."""


@dataclass(frozen=True)
class Reported:
    """p50_ms: of one batch. hz: faces per second. requests: how many it kept under way."""

    p50_ms: float
    hz: float
    requests: int


def benchmark_app(
    bundle: Path, variant: Variant, batch: int, hint: str, duration_s: float
) -> Reported:
    """What it reports for a fixed batch. hint: ``latency`` or ``throughput``.

    Raises EngineError if it fails or prints no figures.
    """
    size = open_bundle(bundle).crop.size_px
    done = subprocess.run(
        [
            str(Path(sys.executable).with_name("benchmark_app")),
            *("-m", str(bundle.resolve() / variant.entry), "-d", "CPU", "-t", f"{duration_s:.0f}"),
            *("-shape", f"[{batch},{size},{size},3]"),
            *("-hint", hint, "-infer_precision", ARITHMETIC[variant.precision]),
        ],
        capture_output=True,
        text=True,
        check=False,
        cwd=tempfile.gettempdir(),  # it writes caches into the present folder
    )
    median = re.search(r"Median:\s*([0-9.]+)\s*(ms|us)", done.stdout)
    rate = re.search(r"Throughput:\s*([0-9.]+)\s*FPS", done.stdout)
    requests = re.search(r"(\d+) inference requests", done.stdout)
    if done.returncode != 0 or not (median and rate and requests):
        said = (done.stderr or done.stdout).strip()[-300:]
        raise EngineError(f"benchmark_app gave no figures for {variant.name}: {said}")
    p50_ms = float(median[1]) / (1 if median[2] == "ms" else 1000)
    return Reported(p50_ms, float(rate[1]), int(requests[1]))
