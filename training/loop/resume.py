"""Position of a run, and the state file to resume from."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from fer_edge.atomic import replacing
from fer_edge.errors import TrainingError
from fer_edge.training.config.from_yaml import build
from fer_edge.training.config.schema import Recipe


@dataclass
class Position:
    """Position of a run, and its scores; lower is better.

    Attributes:
        epoch: Complete epochs of the run.
        phase: Index of the current phase, from 0.
        in_phase: Complete epochs of the current phase.
        best: Lowest score so far.
        mark: Score that early stopping compares with.
        stale: Epochs since ``mark``.
    """

    epoch: int = 0
    phase: int = 0
    in_phase: int = 0
    best: float = float("inf")
    mark: float = float("inf")
    stale: int = 0

    def begin(self, phase: int) -> None:
        """Begin a phase; early stopping starts again."""
        self.phase, self.in_phase, self.mark, self.stale = phase, 0, float("inf"), 0

    def note(self, score: float, min_delta: float) -> bool:
        """Count an epoch; return True if its score is the best."""
        self.epoch += 1
        self.in_phase += 1
        self.stale += 1
        if score < self.mark - min_delta:
            self.mark, self.stale = score, 0
        if score < self.best:
            self.best = score
            return True
        return False


def save_state(path: Path, at: Position, state: dict[str, Any]) -> None:
    """Write the state and the position of a run. Raises OSError."""
    save_tensors(path, {**state, "at": asdict(at)})


def save_tensors(path: Path, values: dict[str, Any]) -> None:
    """Write tensors and plain values in one step. Raises OSError."""
    try:
        with replacing(path) as temporary, temporary.open("wb") as file:
            torch.save(values, file)
    except RuntimeError as error:  # torch's writer hides the error of the file system
        if isinstance(error.__context__, OSError):
            raise error.__context__ from error
        raise


def load_state(
    path: Path, recipe: str, data: str, taught_by: list[str]
) -> tuple[Position, dict[str, Any]]:
    """Read what save_state wrote.

    Raises TrainingError for a damaged file, another recipe, other data, or teachers that changed.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        state["at"].pop("best_epoch", None)  # an older version wrote it
        at = Position(**state["at"])
    except Exception as error:  # whatever a damaged archive makes torch raise
        raise TrainingError(f"cannot read {path}: {error}. Train into another folder") from error
    if not _same_recipe(state.get("recipe"), recipe) or state.get("data") != data:
        raise TrainingError(
            f"{path.parent} was started with another recipe or other data. Resume with those, or "
            "train into another folder"
        )
    if state.get("taught_by", taught_by) != taught_by:  # an older version did not write it
        raise TrainingError(
            f"{path.parent} was started with other teachers: a checkpoint of data.teachers or a "
            "file of data.opinions has changed. Resume with those, or train into another folder"
        )
    return at, state


def _same_recipe(saved: Any, recipe: str) -> bool:
    """Compare recipes as JSON. A key that an older version did not write has its default.

    The paths of the data sets may differ: the fingerprint tells whether the faces are the same.
    """
    if saved == recipe:
        return True
    try:
        one, other = (build(Recipe, json.loads(text), "recipe") for text in (saved, recipe))
    except (TypeError, ValueError):  # RecipeError is a ValueError
        return False
    return bool(replace(one, data=replace(one.data, sources=other.data.sources)) == other)


def restore(stateful: dict[str, Any], saved: dict[str, Any]) -> None:
    """Load the saved state of each part. Raises TrainingError for a state of other parts."""
    for name, part in stateful.items():
        try:
            part.load_state_dict(saved[name])
        except Exception as error:  # each kind of part raises its own errors
            raise TrainingError(
                f"the saved state does not fit this run, in its part {name}: "
                f"{str(error)[:200]}. Train into another folder"
            ) from error
