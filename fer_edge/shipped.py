"""What comes in the wheel: the default model and the composite faces."""

from __future__ import annotations

from pathlib import Path

_MODELS = Path(__file__).parent / "models"

DEFAULT_BUNDLE = _MODELS / "default.fer"
DEFAULT_CHECKPOINT = _MODELS / "default-checkpoint"
FACES = _MODELS / "faces"
"""``faces-train.parquet`` and ``faces-val.parquet``, a data source; and one PNG per emotion."""
