"""Dataclasses whose fields are checked against their types."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, fields, is_dataclass
from numbers import Integral, Real
from types import NoneType, UnionType
from typing import Any, TypeGuard, TypeVar, get_args, get_origin, get_type_hints

from fer_edge.errors import InputError
from fer_edge.shown import shown

Item = TypeVar("Item")


def normalise_fields(item: Any) -> None:
    """Turn lists into tuples where a field is a tuple, and check each field's type.

    Args:
        item: The dataclass; it may be frozen.

    Raises:
        InputError: A field has another type, or is a number that is not finite.
    """
    for name, kind in _types(type(item)).items():
        value = getattr(item, name)
        if isinstance(value, list) and any(get_origin(each) is tuple for each in _options(kind)):
            value = tuple(value)
            object.__setattr__(item, name, value)
        if not _fits(value, kind):
            raise InputError(
                f"expected {type(item).__name__}.{name} as {_word(kind)}, got {shown(value)}"
            )


def from_plain(kind: type[Item], values: object, place: str) -> Item:
    """Make a dataclass from plain values, as JSON and YAML have them.

    Args:
        kind: The dataclass. Its fields may hold dataclasses and tuples of dataclasses.
        values: Mapping of field names to values. Missing fields take their defaults.
        place: Name of the mapping, for messages.

    Raises:
        InputError: A key is unknown or missing, or a value does not fit.
    """
    if not isinstance(values, Mapping):
        raise InputError(f"expected named values in {place}, got {shown(values)}")
    types = _types(kind)
    for key in values:
        if key not in types:
            raise InputError(f"unknown key {shown(key)} in {place}. {_known(key, types)}")
    arguments = {key: _value(types[key], value, f"{place}.{key}") for key, value in values.items()}
    try:
        return kind(**arguments)
    except TypeError as error:  # a field without a default
        raise InputError(f"expected all of {', '.join(types)} in {place}: {error}") from None
    except InputError as error:
        raise InputError(f"{place}: {error}") from None


def as_plain(item: Any) -> dict[str, Any]:
    """Return a dataclass as plain values for JSON; tuples become lists."""
    return {key: _plain(value) for key, value in asdict(item).items()}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, tuple | list) else value


def _known(key: object, types: Mapping[str, Any]) -> str:
    near = difflib.get_close_matches(str(key)[:80], types, n=1)
    return f"Did you mean {near[0]}?" if near else f"Known: {', '.join(types)}"


def _types(kind: type[Any]) -> dict[str, Any]:
    hints = get_type_hints(kind)
    return {field.name: hints[field.name] for field in fields(kind)}


def _options(kind: Any) -> tuple[Any, ...]:
    return get_args(kind) if get_origin(kind) is UnionType else (kind,)


def _value(kind: Any, value: object, place: str) -> Any:
    """Return a plain value as its field has it: dataclasses and tuples are made."""
    for option in _options(kind):
        if is_dataclass(option) and isinstance(option, type):
            return from_plain(option, value, place)
        if get_origin(option) is tuple and isinstance(value, list):
            (inner, *others) = get_args(option)
            if others == [Ellipsis]:
                return tuple(_value(inner, v, f"{place}[{i}]") for i, v in enumerate(value))
            return tuple(value)
    return value


def _fits(value: object, kind: Any) -> bool:
    return any(_fits_one(value, option) for option in _options(kind))


def _fits_one(value: object, kind: Any) -> bool:
    if kind is NoneType:
        return value is None
    if get_origin(kind) is tuple:
        inner = get_args(kind)
        if not isinstance(value, tuple):
            return False
        if inner[1:] == (Ellipsis,):
            return all(_fits(item, inner[0]) for item in value)
        return len(value) == len(inner) and all(map(_fits, value, inner))
    check = _SIMPLE.get(kind)
    return isinstance(value, kind) if check is None else check(value)


def is_number(value: object) -> TypeGuard[float]:
    """Return True for a finite number; False for text, truth values and infinities."""
    if isinstance(value, bool) or not isinstance(value, Real):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def _is_integer(value: object) -> bool:
    """Return True for a whole number of 64 bits, which can be printed."""
    if isinstance(value, bool):
        return False
    return isinstance(value, Integral) and abs(int(value)) < 2**63


_SIMPLE: dict[Any, Callable[[object], bool]] = {
    float: is_number,
    int: _is_integer,
}


def _word(kind: Any) -> str:
    words = {
        float: "a finite number",
        int: "an integer between -2^63 and 2^63",
        str: "text",
        bool: "true or false",
    }
    words[NoneType] = "null"
    names = []
    for option in _options(kind):
        inner = get_args(option)
        if get_origin(option) is not tuple:
            names.append(words.get(option, getattr(option, "__name__", str(option))))
        elif inner[1:] == (Ellipsis,):
            names.append(f"a list of {_word(inner[0])}")
        else:
            names.append(f"{len(inner)} numbers ({_word(inner[0])} each)")
    return " or ".join(names)
