"""Paths of the files in the wheel: the shipped models and composite faces."""

from __future__ import annotations

from pathlib import Path

from fer_edge.errors import BundleError, CheckpointError, InputError
from fer_edge.paths import as_path

_MODELS = Path(__file__).parent / "models"

MODELS = ("default", "fast")
"""Names of the shipped models."""
_SHIPPED = " or ".join(MODELS)
DEFAULT_BUNDLE = _MODELS / "default.fer"
"""Path of the bundle that a Predictor loads by default."""
DEFAULT_CHECKPOINT = _MODELS / "default-checkpoint"
"""Path of the checkpoint that the default bundle was converted from."""
FACES = _MODELS / "faces"
"""Folder of ``faces-train.parquet``, ``faces-val.parquet`` and a PNG per class."""


def bundle_path(bundle: str | Path | None) -> Path:
    """Return the folder of a bundle.

    Args:
        bundle: A path, or the name of a shipped model as a string. ``./default`` and
            ``Path("default")`` are paths. None is the default model.

    Raises:
        BundleError: The name is empty.
        InputError: The bundle is neither.
    """
    if bundle is None:
        return DEFAULT_BUNDLE
    if isinstance(bundle, str) and bundle in MODELS:
        return _MODELS / f"{bundle}.fer"
    if isinstance(bundle, str) and not bundle:
        raise BundleError(f"expected a bundle, got an empty name. Name its folder, or {_SHIPPED}")
    return as_path(bundle, "the bundle")


def named(bundle: str | Path) -> str | Path:
    """Return a bundle's path or name. Raises InputError for None, which names no model."""
    given: object = bundle
    if given is None:
        raise InputError('expected a bundle, got None. Name its folder, or "default"')
    return bundle


def checkpoint_path(checkpoint: str | Path) -> Path:
    """Return the folder of a checkpoint; its argument is as in ``bundle_path``.

    Raises InputError, or CheckpointError for an empty name.
    """
    if isinstance(checkpoint, str) and checkpoint in MODELS:
        return _MODELS / f"{checkpoint}-checkpoint"
    if isinstance(checkpoint, str) and not checkpoint:
        raise CheckpointError(
            f"expected a checkpoint, got an empty name. Name its folder, or {_SHIPPED}"
        )
    return as_path(checkpoint, "the checkpoint")


def is_shipped(path: Path) -> bool:
    """Return True for a folder of the wheel."""
    return path.parent == _MODELS
