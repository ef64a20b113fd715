"""The engines' own benchmark tools on a variant's file: OpenVINO's ``benchmark_app``, TensorRT's
``trtexec``."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fer_edge import EngineError, InputError, Variant, open_bundle
from fer_edge.machine import libraries

ARITHMETIC = {"fp32": "f32", "int8": "f32", "bf16": "bf16", "fp16": "f16"}
"""Our precisions as OpenVINO's ``INFERENCE_PRECISION_HINT``; an int8 model's float rest is fp32."""
_TRTEXEC = "/usr/src/tensorrt/bin/trtexec"
"""Where NVIDIA's own packages put it, which is on nobody's PATH."""


@dataclass(frozen=True)
class Reported:
    """p50_ms: of one batch. hz: faces per second. requests: how many it kept under way."""

    p50_ms: float
    hz: float
    requests: int


Tool = Callable[[Path, Variant, int, str, float], Reported]


def benchmark_app(
    bundle: Path, variant: Variant, batch: int, hint: str, duration_s: float
) -> Reported:
    """What it reports for a fixed batch. hint: ``latency`` or ``throughput``.

    Raises EngineError if it fails or prints no figures.
    """
    said = _run(
        variant,
        str(Path(sys.executable).with_name("benchmark_app")),
        *("-m", str(bundle.resolve() / variant.entry), "-d", "CPU", "-t", f"{duration_s:.0f}"),
        *("-shape", f"[{_shape(bundle, batch, ',')}]"),
        *("-hint", hint, "-infer_precision", ARITHMETIC[variant.precision]),
    )
    median = _found(variant, said, r"Median:\s*([0-9.]+)\s*(ms|us)")
    rate = _found(variant, said, r"Throughput:\s*([0-9.]+)\s*FPS")
    requests = _found(variant, said, r"OPTIMAL_NUMBER_OF_INFER_REQUESTS:\s*(\d+)")
    p50_ms = float(median[1]) / (1 if median[2] == "ms" else 1000)
    return Reported(p50_ms, float(rate[1]), int(requests[1]))


def trtexec(bundle: Path, variant: Variant, batch: int, hint: str, duration_s: float) -> Reported:
    """What it reports for a fixed batch of the typed graph, which it compiles first. It keeps two
    batches under way, whatever the hint; TensorRT 10 counts transfers, 11 leaves them out.

    Raises InputError where it is not installed, EngineError if it fails or prints no figures.
    """
    path = shutil.which("trtexec") or shutil.which(_TRTEXEC)
    if path is None:
        raise InputError(f"expected trtexec on the PATH or as {_TRTEXEC}, found none")
    major = libraries(["tensorrt"]).get("tensorrt", "11").split(".")[0]
    said = _run(
        variant,
        path,
        f"--onnx={bundle.resolve() / variant.entry}",
        f"--shapes=images:{_shape(bundle, batch, 'x')}",
        *(f"--duration={duration_s:.0f}", "--useCudaGraph"),
        # From 11 on there is nothing else, and no such flag.
        *(["--stronglyTyped"] if int(major) < 11 else []),
    )
    rate = _found(variant, said, r"Throughput:\s*([0-9.]+)\s*qps")
    median = _found(variant, said, r"\] Latency:.*?median = ([0-9.]+) ms")
    return Reported(float(median[1]), batch * float(rate[1]), 2)


TOOLS: dict[str, tuple[str, Tool]] = {
    "benchmark_app": ("openvino", benchmark_app),
    "trtexec": ("tensorrt", trtexec),
}
"""By name, each with the target whose variants it runs."""


def _shape(bundle: Path, batch: int, between: str) -> str:
    size_px = open_bundle(bundle).crop.size_px
    return between.join(map(str, (batch, size_px, size_px, 3)))


def _run(variant: Variant, *command: str) -> str:
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        cwd=tempfile.gettempdir(),  # they write caches into the present folder
    )
    if done.returncode != 0:
        raise _silent(variant, done.stderr or done.stdout)
    return done.stdout


def _found(variant: Variant, said: str, pattern: str) -> re.Match[str]:
    found = re.search(pattern, said)
    if found is None:
        raise _silent(variant, said)
    return found


def _silent(variant: Variant, said: str) -> EngineError:
    return EngineError(
        f"the engine's tool gave no figures for {variant.name}: {said.strip()[-300:]}"
    )
