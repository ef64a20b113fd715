"""What the Predictor costs on top of the engine: printed as ratios of one run.

    python -m fer_edge.benchmarks.studies.predictor_overhead [BUNDLE]

For each OpenVINO and ONNX Runtime variant: p50 of ``predictor(crop)`` for a 200x200 BGR crop
against p50 of the bare engine given a ready tensor, at batch 1: the engine on the file as it is,
with its dynamic batch, and for OpenVINO also on the graph of fixed size that our backend runs,
which is the stricter measure. And, for OpenVINO, faces per second of ``predict_batch`` against
``benchmark_app`` on the same model file: by as many callers as that has requests under way, which
is judged, and by one, which waits for each answer.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fer_edge import DEFAULT_BUNDLE, Predictor, TargetError, Variant, open_bundle
from fer_edge.benchmarks.machine.environment import environment, machine, noise_note
from fer_edge.benchmarks.measure.timing import interleaved
from fer_edge.benchmarks.references.vendor_tools import ARITHMETIC, benchmark_app
from fer_edge.telemetry import import_without_telemetry

_SAMPLES = 3000
_ROUNDS, _ROUND_S = 5, 2.0
_BATCHES = (1, 8, 32, 64)
_ALLOWED_RATIO, _ALLOWED_US = 1.15, 40.0
_MIN_THROUGHPUT_RATIO = 0.95


def bare_engine(
    variant: Variant, files: dict[str, bytes], tensor: npt.NDArray[np.uint8], *, fixed: bool = False
) -> Any:
    """The engine's own inference call on a tensor that is ready, as its documentation has it.

    fixed: OpenVINO's graph is compiled for this tensor's shape, as benchmark_app does.
    """
    if variant.target == "onnxruntime":
        import onnxruntime as ort

        settings = ort.SessionOptions()
        # As in our backend, so that the ratio is the Predictor's cost and not a setting's.
        settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
        session = ort.InferenceSession(
            files[variant.entry], settings, providers=["CPUExecutionProvider"]
        )
        name = session.get_inputs()[0].name
        return lambda: session.run(None, {name: tensor})
    openvino = import_without_telemetry("openvino")
    core = openvino.Core()
    weights = next((data for path, data in files.items() if path.endswith(".bin")), b"")
    network = core.read_model(model=files[variant.entry], weights=weights)
    if fixed:
        network.reshape(list(tensor.shape))
    compiled = core.compile_model(
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
    """Prints the rates of one variant; True if ready crops go as fast as they have to."""
    try:
        predictor = Predictor(bundle, variant.target, variant.precision, hint="throughput")
    except TargetError:
        return True
    rng = np.random.default_rng(0)
    ready, crops = (
        list(rng.integers(0, 256, (batch, px, px, 3), np.uint8)) for px in (size_px, 200)
    )
    rates: dict[str, list[float]] = {}
    ratios: dict[str, list[float]] = {}
    with predictor:
        # In turns: a shared machine is faster in one minute than in the next.
        for _ in range(_ROUNDS):
            told = benchmark_app(bundle, variant, batch, "throughput", _ROUND_S)
            rates.setdefault("app", []).append(told.hz)
            same = f"ready crops, {told.requests} callers as it has"
            for name, faces, callers in (
                (same, ready, told.requests),
                ("ready crops, 1 caller", ready, 1),
                ("200 px crops, 1 caller", crops, 1),
            ):
                hz = _rate_hz(partial(predictor.predict_batch, faces), batch, callers)
                rates.setdefault(name, []).append(hz)
                ratios.setdefault(name, []).append(hz / told.hz)
    good = True
    for name, each in ratios.items():
        ratio = statistics.median(each)
        passed = ratio >= _MIN_THROUGHPUT_RATIO or name != same
        good &= passed
        verdict = ("ok" if passed else "MISSED") if name == same else "for information"
        print(
            f"  {variant.name:14s} {name:33s} {statistics.median(rates[name]):6.0f} / "
            f"{statistics.median(rates['app']):.0f}, median of {_ROUNDS} ratios {ratio:.3f}x "
            f"({min(each):.2f} to {max(each):.2f})  {verdict}"
        )
    return good


def _rate_hz(call: Callable[[], object], faces: int, callers: int) -> float:
    """Faces per second while so many threads call one after another."""
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


def main() -> int:
    bundle = Path(sys.argv[1]) if len(sys.argv) > 1 else DEFAULT_BUNDLE
    content = open_bundle(bundle)
    env = environment()
    print(f"{machine(env)}, {env['time']}, {env['libraries']}")
    print(noise_note(env) or "The machine was quiet.")
    rng = np.random.default_rng(0)
    crop = rng.integers(0, 256, (200, 200, 3), np.uint8)
    size = content.crop.size_px
    good = True
    print("\nBatch 1: predictor(200x200 BGR crop) against the bare engine on a ready tensor")
    for variant in content.variants:
        try:
            predictor = Predictor(bundle, variant.target, variant.precision)
        except TargetError as error:
            print(f"  {variant.name:18s} not here: {error}")
            continue
        with predictor:
            ready = rng.integers(0, 256, (1, size, size, 3), np.uint8)
            files = content.read(variant)
            calls = {"ours": partial(predictor, crop), "": bare_engine(variant, files, ready)}
            if variant.target == "openvino":
                calls["fixed"] = bare_engine(variant, files, ready, fixed=True)
            taken = interleaved(calls, _SAMPLES, warm_up=100)
        p50_ms = {name: samples.percentile_ms(50) or 0.0 for name, samples in taken.items()}
        ours = p50_ms.pop("ours")
        for name, theirs in p50_ms.items():
            passed = ours <= max(_ALLOWED_RATIO * theirs, theirs + _ALLOWED_US / 1000)
            good &= passed
            print(
                f"  {variant.name:18s} {name:5s} {ours:.3f} ms / {theirs:.3f} ms = "
                f"{ours / theirs:.3f}x, {1000 * (ours - theirs):+.0f} us  "
                f"{'ok' if passed else 'MISSED'}"
            )
    for batch in _BATCHES:
        print(f"\nBatch {batch}: predict_batch against benchmark_app, faces per second")
        for variant in content.variants:
            if variant.target == "openvino":
                good &= _throughput(bundle, variant, batch, size)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
