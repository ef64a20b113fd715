"""Strict readers of decoded JSON values.

Each function takes a value and the name of its place, and returns the value in its Python type.
It raises ValueError, naming the place, for a value that is not as expected.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import date
from typing import Any, TypeVar

from fer_edge.shown import printable, shown

_T = TypeVar("_T")


def read_object(
    value: Any, where: str, required: tuple[str, ...], optional: tuple[str, ...] = ()
) -> dict[str, Any]:
    """Read named values with every required key and no unknown one."""
    item = read_required(value, where, required)
    if unknown := [key for key in item if key not in (*required, *optional)]:
        raise ValueError(
            f"unknown key {where}.{_name(unknown[0])}. Known: {', '.join((*required, *optional))}"
        )
    return item


def read_required(value: Any, where: str, required: tuple[str, ...]) -> dict[str, Any]:
    """Read named values with every required key; other keys are passed over."""
    item = read_mapping(value, where)
    if missing := [key for key in required if key not in item]:
        raise ValueError(f"expected the key {where}.{missing[0]}, found none")
    return item


def read_mapping(value: Any, where: str) -> dict[str, Any]:
    """Read named values with any keys."""
    if not isinstance(value, dict):
        raise ValueError(f"expected named values in {where}, got {shown(value)}")
    return value


def read_number(value: Any, where: str, low: float, high: float) -> float:
    """Read a number from low to high, both included.

    NaN is out of range.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise ValueError(
            f"expected a number between {low:g} and {high:g} in {where}, got {shown(value)}"
        )
    return float(value)


def read_integer(value: Any, where: str, low: int, high: int) -> int:
    """Read an integer between low and high, both included."""
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ValueError(
            f"expected an integer between {low} and {high} in {where}, got {shown(value)}"
        )
    return value


def read_share(value: Any, where: str) -> float:
    """Read a share between 0 and 1."""
    return read_number(value, where, 0, 1)


def read_positive(value: Any, where: str) -> float:
    """Read a number between 0 and 1e9."""
    return read_number(value, where, 0, 1e9)


def read_count(value: Any, where: str) -> int:
    """Read an integer of 1 or more."""
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 2**53:
        raise ValueError(f"expected a count of 1 or more in {where}, got {shown(value)}")
    return value


def read_text(value: Any, where: str) -> str:
    """Read a string."""
    if not isinstance(value, str):
        raise ValueError(f"expected text in {where}, got {shown(value)}")
    return value


def read_line(value: Any, where: str, most: int = 200) -> str:
    """Read text of at most ``most`` printable characters."""
    text = read_text(value, where)
    if len(text) > most or not text.isprintable():
        raise ValueError(
            f"expected at most {most} printable characters in {where}, got {shown(text)}"
        )
    return text


def read_day(value: Any, where: str) -> str:
    """Read a day, ``YYYY-MM-DD``, or an empty text."""
    text = read_text(value, where)
    if text:
        try:
            date.fromisoformat(text if re.fullmatch(r"\d{4}-\d\d-\d\d", text) else "")
        except ValueError as error:
            raise ValueError(
                f"expected a day like 2026-01-31 in {where}, got {shown(text)}"
            ) from error
    return text


def read_sha256(value: Any, where: str) -> str:
    """Read a SHA-256 in lower-case hexadecimal."""
    if not re.fullmatch(r"[0-9a-f]{64}", read_text(value, where)):
        raise ValueError(f"expected a SHA-256 of 64 lower-case hexadecimal digits in {where}")
    return str(value)


def read_list(value: Any, where: str, read: Callable[[Any, str], _T]) -> tuple[_T, ...]:
    """Read a list, each item with ``read``."""
    if not isinstance(value, list):
        raise ValueError(f"expected a list in {where}, got {shown(value)}")
    return tuple(read(item, f"{where}.{i}") for i, item in enumerate(value))


def read_changes(value: Any, where: str) -> dict[str, float]:
    """Read changes between -1 and 1 by name."""
    item = read_mapping(value, where)
    return {
        name: read_number(change, f"{where}.{_name(name)}", -1, 1) for name, change in item.items()
    }


def read_optional(
    item: Mapping[str, Any], key: str, where: str, read: Callable[[Any, str], _T]
) -> _T | None:
    """Read ``item[key]`` with ``read``; None if the key is missing or null."""
    value = item.get(key)
    return None if value is None else read(value, f"{where}.{key}")


def _name(key: str) -> str:
    """Shorten an untrusted key for a message."""
    return printable(key[:40])
