"""Recipe files: all settings of a training run in one YAML file."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from fer_edge.bounded_yaml import MAX_BYTES
from fer_edge.errors import RecipeError, next_step
from fer_edge.paths import as_path
from fer_edge.plain_file import is_file, read_plain
from fer_edge.progress import Say, say_nothing
from fer_edge.training.config.from_yaml import build, override
from fer_edge.training.config.read_yaml import read_yaml
from fer_edge.training.config.schema import Recipe
from fer_edge.training.config.start_weights import adopt_network

RECIPE_DIR = Path(__file__).parents[1] / "recipes"
"""Folder of the recipes that ship with the package."""


def load_recipe(
    path_or_name: str | Path, overrides: Sequence[str] = (), say: Say = say_nothing
) -> Recipe:
    """Load a recipe from a file, or a shipped one by name.

    Args:
        path_or_name: Path of a YAML file, or the name of a shipped recipe (``edge-default``).
        overrides: Changes to single values, as ``section.key=value``; values are read as YAML.
        say: Receives a sentence if the weights to start from bring another network.

    Returns:
        The recipe, checked.

    Raises:
        RecipeError: The file is missing, a key is unknown, a value is not accepted, or a shipped
            checkpoint to start from is missing or has another network than an override.
    """
    path = as_path(path_or_name, "the recipe")
    shipped = RECIPE_DIR / f"{path_or_name}.yaml"
    if not is_file(path) and is_file(shipped):
        path = shipped
    data = _read(path)
    for text in overrides:
        override(data, text)
    adopt_network(data, [text.partition("=")[0] for text in overrides], say)
    recipe = build(Recipe, data, "recipe")
    assert isinstance(recipe, Recipe)
    return recipe


def _read(path: Path) -> dict[str, Any]:
    """Return the sections of a YAML file. Raises RecipeError."""
    try:
        text = read_plain(path, MAX_BYTES, pipes=True).decode("utf-8")
    except OSError as error:
        raise RecipeError(
            f"cannot read recipe {path}: {error.strerror}. {next_step(error, _shipped())}"
        ) from error
    except UnicodeDecodeError as error:
        raise RecipeError(f"{path} is not UTF-8: {error}. Save it as UTF-8") from error
    data = read_yaml(text, str(path))
    if not isinstance(data, dict):
        raise RecipeError(f"expected a recipe with named sections in {path}")
    return data


def _shipped() -> str:
    """Return the names of the shipped recipes; nothing if their folder cannot be read now."""
    with suppress(OSError):
        return "Shipped recipes: " + ", ".join(sorted(p.stem for p in RECIPE_DIR.glob("*.yaml")))
    return ""
