"""Compile a bundle's variants on the device that will run them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from fer_edge.backends.base import Options, backend, targets
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
    """Compile variants for this device; yield a sentence for each.

    Args:
        bundle: A ``NAME.fer`` folder; it is not changed.
        cache_dir: Folder for the engines. None is the folder where every Predictor looks.
        device: ``cuda`` or ``cuda:N``; None is the first GPU.
        workspace_mib: Most GPU memory in MiB that one layer may use; None sets no limit.
        step: Called with the compiler's progress.

    Raises:
        BundleError: The bundle is damaged.
        TargetError: No variant is compiled on a device, or this device has no GPU or library.
        EngineError: The compiler fails.
    """
    opened = open_bundle(bundle)
    known = [variant for variant in opened.variants if variant.target in targets()]
    variants = [variant for variant in known if hasattr(backend(variant.target), "build")]
    if not variants:
        raise TargetError(
            f"{opened.path} has nothing to compile on a device, "
            f"only {', '.join(v.name for v in opened.variants)}"
        )
    for variant in variants:
        started = time.monotonic()
        options = Options(device=device, cache_dir=cache_dir)
        compile_variant = getattr(backend(variant.target), "build")  # noqa: B009  (optional)
        folder = compile_variant(
            variant, opened.read(variant), options, workspace_mib=workspace_mib, step=step
        )
        if folder is None:
            yield f"{variant.name}: the bundle holds an engine for this GPU"
        else:
            yield f"{variant.name}: in {folder} after {time.monotonic() - started:.1f} s"
