"""Conversion of plain YAML into frozen dataclasses, strict about keys and types."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from fer_edge.errors import RecipeError
from fer_edge.shown import shown
from fer_edge.training.config.read_yaml import read_yaml

_MOST_NAMED = 5
"""Largest number of unknown keys that a message names."""


def override(data: dict[str, Any], text: str) -> None:
    """Set one value of a recipe in place.

    Args:
        data: The recipe's sections.
        text: ``section.key=value``; the value is read as YAML.

    Raises:
        RecipeError: The text has another form, or names no section.
    """
    key, equals, value = text.partition("=")
    *sections, last = key.split(".")
    if not equals or not last:
        raise RecipeError(f"expected section.key=value, got {shown(text)}")
    for section in sections:
        data = data.setdefault(section, {})
        if not isinstance(data, dict):
            raise RecipeError(f"{section!r} in {shown(text)} is not a section of the recipe")
    data[last] = read_yaml(value, f"the value in {shown(text)}")


def build(cls: type, data: Any, where: str) -> Any:
    """Build a dataclass from plain YAML.

    Args:
        cls: The dataclass; its type hints decide which values are accepted.
        data: The named values.
        where: Key of the section, for messages.

    Returns:
        An instance of ``cls``.

    Raises:
        RecipeError: A key is unknown or missing, or a value has another type.
    """
    if not isinstance(data, dict):
        raise RecipeError(f"expected named values in {where}, got {shown(data)}")
    known = {f.name for f in fields(cls)}
    if unknown := sorted(set(map(shown, data)) - set(map(shown, known))):
        named = ", ".join(key.strip("'") for key in unknown[:_MOST_NAMED])
        raise RecipeError(f"unknown key {named} in {where}. Known: {', '.join(sorted(known))}")
    hints = get_type_hints(cls)
    values = {k: _value(hints[k], v, f"{where}.{k}") for k, v in data.items()}
    try:
        return cls(**values)
    except TypeError as error:
        raise RecipeError(f"{where}: {error}") from error


def _value(hint: Any, value: Any, where: str) -> Any:
    """Return the value as its hint describes it. Raises RecipeError for another type."""
    if is_dataclass(hint):
        return build(hint, value, where)  # type: ignore[arg-type]
    if hint is float:
        return _number(value, where)
    if convert := _BY_ORIGIN.get(get_origin(hint)):
        return convert(get_args(hint), value, where)
    if type(value) is not hint:
        raise _unexpected(where, hint.__name__, value)
    return value


def _number(value: Any, where: str) -> float:
    if isinstance(value, str):  # YAML 1.1 reads 1e-3, without a dot, as text
        with contextlib.suppress(ValueError):
            value = float(value)
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise _unexpected(where, "float", value)
    try:
        return float(value)
    except OverflowError:  # an integer beyond float's range
        raise _unexpected(where, "float", value) from None


def _choice(choices: tuple[Any, ...], value: Any, where: str) -> Any:
    if value not in choices:
        raise _unexpected(where, " or ".join(map(str, choices)), value)
    return value


def _sequence(hints: tuple[Any, ...], value: Any, where: str) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise _unexpected(where, "a list", value)
    return tuple(_value(hints[0], item, f"{where}.{i}") for i, item in enumerate(value))


def _optional(hints: tuple[Any, ...], value: Any, where: str) -> Any:
    return None if value is None else _value(hints[0], value, where)


def _mapping(_: tuple[Any, ...], value: Any, where: str) -> Any:
    if not isinstance(value, dict):
        raise _unexpected(where, "named values", value)
    return value


_BY_ORIGIN: dict[Any, Callable[[tuple[Any, ...], Any, str], Any]] = {
    Literal: _choice,
    tuple: _sequence,
    UnionType: _optional,
    Union: _optional,  # the same class as UnionType from Python 3.14 on
    dict: _mapping,
}


def _unexpected(where: str, expected: str, value: Any) -> RecipeError:
    return RecipeError(f"expected {where} to be {expected}, got {shown(value)}")
