"""Vendors' benchmark tools on a variant's file: ``benchmark_app`` and ``trtexec``."""

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
from fer_edge.backends.openvino import ARITHMETIC
from fer_edge.child import ending_command
from fer_edge.machine import libraries

_TRTEXEC = "/usr/src/tensorrt/bin/trtexec"
"""Path of NVIDIA's packages, which is not on PATH."""
_START_S = 600.0
"""Seconds that a tool may take besides measuring; trtexec compiles the graph."""


@dataclass(frozen=True)
class Reported:
    """Figures that a tool reports.

    Attributes:
        p50_ms: Median latency of one batch in ms.
        hz: Faces per second.
        requests: Requests in flight.
    """

    p50_ms: float
    hz: float
    requests: int


Tool = Callable[[Path, Variant, int, str, float], Reported]


def benchmark_app(
    bundle: Path, variant: Variant, batch: int, hint: str, duration_s: float
) -> Reported:
    """Run OpenVINO's ``benchmark_app`` with a fixed batch.

    Args:
        bundle: Folder of the bundle.
        variant: Variant of the target openvino.
        batch: Faces per request.
        hint: ``latency`` or ``throughput``.
        duration_s: Seconds to measure.

    Raises:
        InputError: The tool is not installed.
        EngineError: The tool failed or printed no figures.
    """
    beside = str(Path(sys.executable).with_name("benchmark_app"))
    path = shutil.which(beside) or shutil.which("benchmark_app")
    if path is None:
        raise InputError(
            f"expected benchmark_app as {beside} or on PATH, got none. Install it: pip install "
            "openvino"
        )
    output = _run(
        variant,
        duration_s,
        path,
        *("-m", str(bundle.resolve() / variant.entry), "-d", "CPU", "-t", f"{duration_s:.0f}"),
        *("-shape", f"[{_shape(bundle, batch, ',')}]"),
        *("-hint", hint, "-infer_precision", ARITHMETIC[variant.precision]),
    )
    median = _search(variant, output, r"Median:\s*([0-9.]+)\s*(ms|us)")
    rate = _search(variant, output, r"Throughput:\s*([0-9.]+)\s*FPS")
    requests = _search(variant, output, r"OPTIMAL_NUMBER_OF_INFER_REQUESTS:\s*(\d+)")
    p50_ms = float(median[1]) / (1 if median[2] == "ms" else 1000)
    return Reported(p50_ms, float(rate[1]), int(requests[1]))


def trtexec(bundle: Path, variant: Variant, batch: int, hint: str, duration_s: float) -> Reported:
    """Run TensorRT's ``trtexec`` with a fixed batch of the typed graph.

    It compiles the graph first, and keeps two batches in flight for either hint. TensorRT 10 counts
    transfers, 11 does not.

    Raises:
        InputError: The tool is not installed.
        EngineError: The tool failed or printed no figures.
    """
    path = shutil.which("trtexec") or shutil.which(_TRTEXEC)
    if path is None:
        raise InputError(f"expected trtexec on PATH or as {_TRTEXEC}, got none. Install TensorRT")
    major = libraries(["tensorrt"]).get("tensorrt", "11").split(".")[0]
    output = _run(
        variant,
        duration_s,
        path,
        f"--onnx={bundle.resolve() / variant.entry}",
        f"--shapes=images:{_shape(bundle, batch, 'x')}",
        *(f"--duration={duration_s:.0f}", "--useCudaGraph"),
        # From 11 on every network is strongly typed, and the flag is gone.
        *(["--stronglyTyped"] if int(major) < 11 else []),
    )
    rate = _search(variant, output, r"Throughput:\s*([0-9.]+)\s*qps")
    median = _search(variant, output, r"\] Latency:.*?median = ([0-9.]+) ms")
    return Reported(float(median[1]), batch * float(rate[1]), 2)


TOOLS: dict[str, tuple[str, Tool]] = {
    "benchmark_app": ("openvino", benchmark_app),
    "trtexec": ("tensorrt", trtexec),
}
"""Tools by name, each with the target whose variants it runs."""


def _shape(bundle: Path, batch: int, between: str) -> str:
    size_px = open_bundle(bundle).crop.size_px
    return between.join(map(str, (batch, size_px, size_px, 3)))


def _run(variant: Variant, duration_s: float, *command: str) -> str:
    """Return what a tool prints. On Linux, the tool ends with this process."""
    timeout_s = duration_s + _START_S
    with tempfile.TemporaryDirectory() as folder:  # the tools have caches in the current folder
        try:
            done = subprocess.run(
                ending_command(command),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                encoding="utf-8",
                errors="replace",
                check=False,
                cwd=folder,
                timeout=timeout_s,
            )
        except subprocess.TimeoutExpired:
            raise EngineError(
                f"the engine's tool did not end within {timeout_s:.0f} s for {variant.name}. Run "
                "it again, or leave out --against"
            ) from None
    if done.returncode != 0:
        raise _no_figures(variant, done.stderr or done.stdout)
    return done.stdout


def _search(variant: Variant, output: str, pattern: str) -> re.Match[str]:
    match = re.search(pattern, output)
    if match is None:
        raise _no_figures(variant, output)
    return match


def _no_figures(variant: Variant, output: str) -> EngineError:
    return EngineError(
        f"the engine's tool printed no figures for {variant.name}: {output.strip()[-300:]}"
    )
