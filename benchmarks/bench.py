"""The table: every variant that runs here, by batch size, against torch and ONNX Runtime fp32."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fer_edge import DEFAULT_BUNDLE, EngineError, InputError, Predictor, TargetError, open_bundle
from fer_edge.benchmarks.environment import environment, noise_note
from fer_edge.benchmarks.timing import Call, Samples, interleaved, ratio_interval

SCHEMA = 1
_CROP_PX = 200
"""Side of the BGR crops that are timed: a driver's face from a 720p cabin camera."""
_SAMPLES = 700
"""Enough for a p99 at 99 % confidence (662)."""
BASELINES = ("torch eager fp32", "onnxruntime/fp32")

Step = Callable[[str, int, int], None]


def bench(
    bundle: str | Path | None = None,
    batch_sizes: Sequence[int] = (1, 8, 16, 32, 64),
    *,
    checkpoint: str | Path | None = None,
    budget_s: float = 20.0,
    step: Step = lambda what, done, total: None,
) -> dict[str, Any]:
    """Measure every variant that runs here; gives the report as plain values.

    bundle: None means the shipped one. checkpoint: the folder that torch eager runs, for the
    ratio against it; None leaves torch out. budget_s: time for each batch size, all variants
    together; percentiles without enough samples stay None.

    Latency is ``predictor.predict_batch`` of 200x200 BGR crops: resize and answers included.
    """
    if not batch_sizes or min(batch_sizes) < 1:
        raise InputError(f"expected batch sizes of at least 1, got {list(batch_sizes)}")
    path = DEFAULT_BUNDLE if bundle is None else Path(bundle)
    content = open_bundle(path)
    env = environment()
    rng = np.random.default_rng(0)
    rows: list[dict[str, Any]] = []
    refused: list[dict[str, str]] = []
    with ExitStack() as stack:
        predictors: dict[str, Predictor] = {}
        for variant in content.variants:
            try:
                predictor = Predictor(path, variant.target, variant.precision)
            except TargetError as error:
                refused.append({"variant": variant.name, "reason": str(error)})
                continue
            predictors[variant.name] = stack.enter_context(predictor)
        if not predictors:
            raise TargetError("; ".join(item["reason"] for item in refused))
        reference = _torch_eager(checkpoint) if checkpoint is not None else None
        for batch in batch_sizes:
            crops = list(rng.integers(0, 256, (batch, _CROP_PX, _CROP_PX, 3), np.uint8))
            calls: dict[str, Call] = {
                name: partial(p.predict_batch, crops) for name, p in predictors.items()
            }
            if reference is not None:
                ready = rng.integers(
                    0, 256, (batch, content.crop.size_px, content.crop.size_px, 3), np.uint8
                )
                calls[BASELINES[0]] = partial(reference, ready)
            taken = interleaved(
                calls,
                _SAMPLES,
                budget_s=budget_s,
                step=partial(step, f"batch {batch}"),
            )
            rows += [_row(name, batch, s, taken, predictors, crops) for name, s in taken.items()]
    starts = {}
    for i, name in enumerate(predictors):
        step("cold start", i + 1, len(predictors))
        starts[name] = cold_start(path, name)
    return {
        "schema": SCHEMA,
        "bundle": {"path": str(path), "sha256": content.sha256},
        "environment": env,
        "note": noise_note(env),
        "crop_px": _CROP_PX,
        "rows": rows,
        "cold_start": starts,
        "refused": refused,
    }


def _row(
    name: str,
    batch: int,
    samples: Samples,
    taken: dict[str, Samples],
    predictors: dict[str, Predictor],
    crops: list[npt.NDArray[np.uint8]],
) -> dict[str, Any]:
    row: dict[str, Any] = {
        "variant": name,
        "batch": batch,
        "samples": len(samples.ns),
        "p50_ms": samples.percentile_ms(50),
        "p90_ms": samples.percentile_ms(90),
        "p99_ms": samples.percentile_ms(99),
        "throughput_hz": samples.throughput_hz(batch),
    }
    if name in predictors:
        times = [predictors[name].predict_batch(crops)[0].times for _ in range(20)]
        row["split_ms"] = {
            "preprocess": float(np.median([t.preprocess_ms for t in times])),
            "infer": float(np.median([t.infer_ms for t in times])),
            "postprocess": float(np.median([t.postprocess_ms for t in times])),
        }
    for baseline in BASELINES:
        if baseline in taken and baseline != name:
            ratio, low, high = ratio_interval(taken[baseline], samples)
            row.setdefault("speedup", {})[baseline] = {"ratio": ratio, "low": low, "high": high}
    return row


def cold_start(bundle: str | Path, variant: str) -> dict[str, float]:
    """Process start to first answer in a fresh process, in seconds, and its memory in bytes."""
    target, precision = variant.split("/")
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "fer_edge.benchmarks.coldstart", str(bundle), target, precision],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        said = done.stderr.strip().splitlines() or ["it said nothing"]
        raise EngineError(f"a fresh process could not run {variant}: {said[-1]}")
    total = time.perf_counter() - began
    return {"total_s": total, **json.loads(done.stdout)}


def _torch_eager(checkpoint: str | Path) -> Callable[[npt.NDArray[np.uint8]], object]:
    """What a user has before converting: the checkpoint in torch, fp32, eager, all cores."""
    import torch

    from fer_edge.training.checkpoint import load_checkpoint
    from fer_edge.training.deploy import DeployModule

    module = DeployModule(load_checkpoint(checkpoint))

    def run(batch: npt.NDArray[np.uint8]) -> object:
        with torch.inference_mode():
            return module(torch.from_numpy(batch))

    return run
