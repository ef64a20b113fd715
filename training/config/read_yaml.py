"""YAML of recipes and of their overrides."""

from __future__ import annotations

from typing import Any

from fer_edge.bounded_yaml import parse_yaml
from fer_edge.errors import RecipeError


def read_yaml(text: str, name: str) -> Any:
    """Parse YAML into plain values.

    Args:
        text: The YAML; see ``parse_yaml`` for what is refused.
        name: Name of the text, for messages.

    Raises:
        RecipeError: The text is not YAML, or is too large or too deep to be a recipe.
    """
    try:
        return parse_yaml(text)
    except ValueError as error:
        raise RecipeError(f"{name} is not readable YAML: {error}. Correct it") from error
