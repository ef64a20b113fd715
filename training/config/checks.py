"""Checks of single recipe values; the rules themselves are in schema.py."""

from __future__ import annotations

import re

from fer_edge.errors import RecipeError
from fer_edge.shown import shown

COUNT = r"[1-9][0-9]{0,5}"
"""Pattern of a positive integer."""
NUMBER = r"[0-9]{1,3}(\.[0-9]{1,6})?"
"""Pattern of a decimal number without a sign."""
_MOST_NAME = 100
"""Largest length of a recipe's name."""


def check_range(key: str, value: float, least: float, largest: float) -> None:
    """Raise RecipeError unless ``least <= value <= largest``; NaN fails."""
    if not least <= value <= largest:
        raise RecipeError(f"expected {key} between {least} and {largest}, got {shown(value)}")


def check_pattern(key: str, text: str, pattern: str, expected: str) -> None:
    """Raise RecipeError unless the complete text matches; ``expected`` describes the pattern."""
    if not re.fullmatch(pattern, text):
        raise RecipeError(f"expected {key} to be {expected}, got {shown(text)}")


def check_name(name: str) -> None:
    """Raise RecipeError unless the name can also be that of a run's folder."""
    require(
        0 < len(name) <= _MOST_NAME
        and name.isprintable()
        and not set(name) & set("/\\")
        and name not in (".", ".."),
        f"expected a name of 1 to {_MOST_NAME} printable characters, without / and \\: it also "
        f"names the run's folder. Got {shown(name)}. Choose another name",
    )


def require(condition: bool, message: str) -> None:
    """Raise RecipeError with the message unless the condition holds."""
    if not condition:
        raise RecipeError(message)
