"""Overhead of the Predictor over the bare engine, as ratios.

    python -m fer_edge.benchmarks.studies.predictor_overhead [BUNDLE]

Batch 1, for each OpenVINO and ONNX Runtime variant: p50 of ``predictor(crop)`` for a 200x200 BGR
crop against p50 of the bare engine with a ready tensor. The engine runs the file as it is, with its
dynamic batch; OpenVINO also runs the graph of fixed size that our backend uses, which is the
stricter measure.

Throughput, for each OpenVINO variant: faces per second of ``predict_batch`` against
``benchmark_app`` on the same file. As many callers as benchmark_app has requests in flight must
reach its rate; one caller, which waits for each answer, is shown for information.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np
import numpy.typing as npt

from fer_edge import (
    DEFAULT_BUNDLE,
    InputError,
    LimitError,
    Predictor,
    TargetError,
    Variant,
    open_bundle,
)
from fer_edge.backends.openvino import ARITHMETIC, shared_core
from fer_edge.benchmarks.job import CROP_PX, noise
from fer_edge.benchmarks.machine.environment import environment, machine, noise_note
from fer_edge.benchmarks.measure.timing import interleaved
from fer_edge.benchmarks.references.vendor_tools import benchmark_app
from fer_edge.module_command import ModuleCommand
from fer_edge.shipped import bundle_path
from fer_edge.telemetry import import_without_telemetry

_TARGETS = ("onnxruntime", "openvino")
_SAMPLES = 3000
_ROUNDS, _ROUND_S = 5, 2.0
_BATCHES = (1, 8, 32, 64)
_ALLOWED_RATIO, _ALLOWED_US = 1.15, 40.0
_MIN_THROUGHPUT_RATIO = 0.95


def bare_engine(
    variant: Variant, files: dict[str, bytes], tensor: npt.NDArray[np.uint8], *, fixed: bool = False
) -> Any:
    """Return the engine's own inference call, as its documentation shows it.

    Args:
        variant: Variant of the target onnxruntime or openvino.
        files: Files of the variant by path.
        tensor: Ready input, uint8 ``[N, S, S, 3]`` BGR.
        fixed: Compile OpenVINO's graph for the tensor's shape, as benchmark_app does.
    """
    if variant.target == "onnxruntime":
        ort = import_without_telemetry("onnxruntime")

        settings = ort.SessionOptions()
        # As in our backend: the ratio must show the Predictor's cost, not a setting's.
        settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
        session = ort.InferenceSession(
            files[variant.entry], settings, providers=["CPUExecutionProvider"]
        )
        name = session.get_inputs()[0].name
        return lambda: session.run(None, {name: tensor})
    openvino = import_without_telemetry("openvino")
    weights = next((data for path, data in files.items() if path.endswith(".bin")), b"")
    network = shared_core().read_model(model=files[variant.entry], weights=weights)
    if fixed:
        network.reshape(list(tensor.shape))
    compiled = shared_core().compile_model(
        network,
        "CPU",
        {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": ARITHMETIC[variant.precision],
        },
    )
    request = compiled.create_infer_request()
    request.set_input_tensor(openvino.Tensor(tensor, shared_memory=True))
    return request.infer


def _throughput(bundle: Path, variant: Variant, batch: int, size_px: int) -> bool:
    """Print the rates of one variant; return whether as many callers reach benchmark_app's rate."""
    predictor = Predictor(bundle, variant.target, variant.precision, hint="throughput")
    ready, crops = (list(noise(batch, px)) for px in (size_px, CROP_PX))
    app_hz: list[float] = []
    rates: dict[str, list[float]] = {}
    ratios: dict[str, list[float]] = {}
    judged = ""
    with predictor:
        # In turns: a shared machine is faster in one minute than in the next.
        for _ in range(_ROUNDS):
            report = benchmark_app(bundle, variant, batch, "throughput", _ROUND_S)
            app_hz.append(report.hz)
            judged = f"ready crops, {report.requests} callers as it has"
            for name, faces, callers in (
                (judged, ready, report.requests),
                ("ready crops, 1 caller", ready, 1),
                ("200 px crops, 1 caller", crops, 1),
            ):
                hz = _rate_hz(partial(predictor.predict_batch, faces), batch, callers)
                rates.setdefault(name, []).append(hz)
                ratios.setdefault(name, []).append(hz / report.hz)
    good = True
    for name, each in ratios.items():
        ratio = statistics.median(each)
        passed = ratio >= _MIN_THROUGHPUT_RATIO or name != judged
        good &= passed
        verdict = ("ok" if passed else "MISSED") if name == judged else "for information"
        print(
            f"  {variant.name:14s} {name:33s} {statistics.median(rates[name]):6.0f} / "
            f"{statistics.median(app_hz):.0f}, median of {len(each)} ratios {ratio:.3f}x "
            f"({min(each):.2f} to {max(each):.2f})  {verdict}"
        )
    return good


def _rate_hz(call: Callable[[], object], faces: int, callers: int) -> float:
    """Return faces per second of ``callers`` threads that call without a pause."""
    began = time.perf_counter()

    def work() -> int:
        calls = 0
        while time.perf_counter() - began < _ROUND_S:
            call()
            calls += 1
        return calls

    with ThreadPoolExecutor(callers) as pool:
        working = [pool.submit(work) for _ in range(callers)]
        calls = sum(future.result() for future in working)
    return faces * calls / (time.perf_counter() - began)


def _latency(bundle: Path, variant: Variant, size_px: int) -> bool:
    """Print the latencies of one variant; return whether they are within the bar."""
    crop, ready = noise(1, CROP_PX)[0], noise(1, size_px)
    with Predictor(bundle, variant.target, variant.precision) as predictor:
        files = open_bundle(bundle).read(variant)
        calls = {"ours": partial(predictor, crop), "": bare_engine(variant, files, ready)}
        if variant.target == "openvino":
            calls["fixed"] = bare_engine(variant, files, ready, fixed=True)
        latencies = interleaved(calls, _SAMPLES, warm_up=100)
    p50_ms = {name: samples.percentile_ms(50) or 0.0 for name, samples in latencies.items()}
    ours = p50_ms.pop("ours")
    good = True
    for name, engine in p50_ms.items():
        passed = ours <= max(_ALLOWED_RATIO * engine, engine + _ALLOWED_US / 1000)
        good &= passed
        print(
            f"  {variant.name:18s} {name:5s} {ours:.3f} ms / {engine:.3f} ms = "
            f"{ours / engine:.3f}x, {1000 * (ours - engine):+.0f} us  "
            f"{'ok' if passed else 'MISSED'}"
        )
    return good


def _running(bundle: Path) -> list[Variant]:
    """Return the variants of both targets that run here.

    Raises:
        InputError: The bundle has no variant of either target.
        TargetError: None of them runs here.
    """
    written = [v for v in open_bundle(bundle).variants if v.target in _TARGETS]
    if not written:
        raise InputError(
            f"expected a variant of {' or '.join(_TARGETS)} in {bundle}, whose bare engines are "
            "measured. Choose another bundle"
        )
    running: list[Variant] = []
    for variant in written:
        try:
            Predictor(bundle, variant.target, variant.precision).close()
        except TargetError as error:
            print(f"{variant.name} does not run here: {error}")
        else:
            running.append(variant)
    if not running:
        raise TargetError(
            f"no variant of {bundle} could be measured. To see what runs here: fer-edge doctor"
        )
    return running


@click.command("predictor_overhead", cls=ModuleCommand)
@click.argument("bundle", type=bundle_path, default=DEFAULT_BUNDLE)
def main(bundle: Path) -> None:
    """Measure BUNDLE (default: the shipped one); exit code 8 says that a bar was missed."""
    variants = _running(bundle)
    size_px = open_bundle(bundle).crop.size_px
    env = environment()
    print(f"{machine(env)}, {env['time']}, {env['libraries']}")
    print(noise_note(env) or "The machine was quiet.")
    print("\nBatch 1: predictor(200x200 BGR crop) against the bare engine on a ready tensor")
    missed: list[str] = []
    for variant in variants:
        if not _latency(bundle, variant, size_px):
            missed.append(f"latency of {variant.name}")
    for batch in _BATCHES:
        print(f"\nBatch {batch}: predict_batch against benchmark_app, faces per second")
        for variant in variants:
            if variant.target == "openvino" and not _throughput(bundle, variant, batch, size_px):
                missed.append(f"throughput of {variant.name} at batch {batch}")
    if missed:
        raise LimitError(f"missed bars: {'; '.join(missed)}")


if __name__ == "__main__":
    main()
