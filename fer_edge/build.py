"""Compile, on the device, what a bundle carries as a graph only."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from fer_edge.backends import tensorrt
from fer_edge.backends.base import Options
from fer_edge.bundle import open_bundle
from fer_edge.errors import TargetError
from fer_edge.progress import Step


def build(
    bundle: str | Path,
    cache_dir: Path | None = None,
    device: str | None = None,
    workspace_mib: int | None = None,
    *,
    step: Step | None = None,
) -> Iterator[str]:
    """Compile the bundle's TensorRT variants for this GPU, one sentence for each as it is done.

    cache_dir: where engines are kept; None is where every Predictor looks. device: ``cuda`` or
    ``cuda:N``. workspace_mib: GPU memory that one layer may use; None is all there is.
    Raises BundleError; TargetError if there is nothing to compile, or no GPU or library to
    compile for; EngineError if the compiler fails.
    """
    opened = open_bundle(bundle)
    variants = [variant for variant in opened.variants if variant.target == "tensorrt"]
    if not variants:
        raise TargetError(
            f"{opened.path} has nothing to compile on a device, "
            f"only {', '.join(v.name for v in opened.variants)}"
        )
    for variant in variants:
        started = time.monotonic()
        options = Options(device=device, cache_dir=cache_dir)
        folder = tensorrt.build(
            variant, opened.read(variant), options, workspace_mib=workspace_mib, step=step
        )
        if folder is None:
            yield f"{variant.name}: the bundle holds an engine for this GPU"
        else:
            yield f"{variant.name}: in {folder} after {time.monotonic() - started:.1f} s"
