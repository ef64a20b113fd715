"""Plain YAML into frozen dataclasses, strict about keys and types: every mistake has a name."""

from __future__ import annotations

import contextlib
from dataclasses import fields, is_dataclass
from typing import Any, Literal, get_type_hints

import yaml

from fer_edge.errors import RecipeError


def override(data: dict[str, Any], text: str) -> None:
    """Set one value, as ``section.key=value`` says. Raises RecipeError where it cannot be."""
    key, equals, value = text.partition("=")
    *sections, last = key.split(".")
    if not equals or not last:
        raise RecipeError(f"expected section.key=value, got {text!r}")
    for section in sections:
        data = data.setdefault(section, {})
        if not isinstance(data, dict):
            raise RecipeError(f"{section!r} in {text!r} is not a section of the recipe")
    try:
        data[last] = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise RecipeError(f"the value in {text!r} is not YAML") from error


def build(cls: type, data: Any, where: str) -> Any:
    """A frozen dataclass from plain YAML, strict about keys and types."""
    if not isinstance(data, dict):
        raise RecipeError(f"expected named values in {where}, got {data!r}")
    known = {f.name for f in fields(cls)}
    if unknown := sorted(set(map(str, data)) - known):
        raise RecipeError(
            f"unknown key {', '.join(unknown)} in {where}. Known: {', '.join(sorted(known))}"
        )
    hints = get_type_hints(cls)
    values = {k: _value(hints[k], v, f"{where}.{k}") for k, v in data.items()}
    try:
        return cls(**values)
    except TypeError as error:
        raise RecipeError(f"{where}: {error}") from error


def _value(hint: Any, value: Any, where: str) -> Any:
    if is_dataclass(hint):
        return build(hint, value, where)  # type: ignore[arg-type]
    choices: Any = getattr(hint, "__args__", ())
    origin = getattr(hint, "__origin__", None)
    if origin is Literal:
        good = value in choices
    elif origin is tuple:
        good = isinstance(value, list)
        if good:
            return tuple(_value(choices[0], v, f"{where}.{i}") for i, v in enumerate(value))
    elif choices and type(None) in choices:
        if value is None:
            return None
        return _value(choices[0], value, where)
    elif origin is dict:
        good = isinstance(value, dict)
    elif hint is float:
        if isinstance(value, str):  # YAML 1.1 reads 1e-3, without a dot, as text
            with contextlib.suppress(ValueError):
                value = float(value)
        good = isinstance(value, int | float) and not isinstance(value, bool)
        value = float(value) if good else value
    else:
        good = type(value) is hint
    if not good:
        names = ", ".join(map(str, choices)) if origin is Literal else getattr(hint, "__name__", "")
        raise RecipeError(f"expected {where} to be {names or hint}, got {value!r}")
    return value
