"""Paths of the files in the wheel: default model and composite faces."""

from __future__ import annotations

from pathlib import Path

_MODELS = Path(__file__).parent / "models"

DEFAULT_BUNDLE = _MODELS / "default.fer"
"""Path of the bundle that a Predictor loads by default."""
DEFAULT_CHECKPOINT = _MODELS / "default-checkpoint"
"""Path of the checkpoint that the default bundle was converted from."""
FACES = _MODELS / "faces"
"""Folder of ``faces-train.parquet``, ``faces-val.parquet`` and a PNG per class."""
