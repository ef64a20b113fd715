"""The best epoch is saved, and calibrated on the held-out faces."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fer_edge.errors import TrainingError
from fer_edge.training.config.schema import Fit, Recipe
from fer_edge.training.loop.train import train

pytestmark = pytest.mark.usefixtures("undrawn")


def test_weights_that_grow_beyond_half_precision_are_a_training_error(
    helpers: Any, recipe: Recipe, few_faces: Path, tmp_path: Path
) -> None:
    """With this rate the loss stays finite, and the weights become too large to be stored."""
    fit = Fit(epochs=2, batch=16, lr=100, workers=0)
    with pytest.raises(TrainingError, match=r"fit\.lr"):
        train(replace(recipe, fit=fit), few_faces, tmp_path / "run", say=helpers.quiet)
