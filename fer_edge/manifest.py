"""Strict JSON for ``bundle.json``, and the SHA-256 of its canonical form.

Python's JSON reader takes a repeated key, NaN and any depth. A manifest has none of them, so
that every reader of the file, in any language, sees the same content.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from fer_edge.errors import InputError
from fer_edge.shown import shown

SEAL = "manifest_sha256"
"""Key of the SHA-256 of the manifest's canonical form."""
MAX_NAME = 100
"""Largest number of characters of a bundle's name and version."""
_MOST_DEPTH = 32
"""Deepest nesting. ``fer-edge convert`` writes about 8 levels."""
_MOST_OBJECTS = 100_000
"""Largest number of lists and objects. The shipped manifest has 82."""
# Without backtracking, and to the end if the string has none: linear in the size of the file.
_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
_BRACKET = re.compile(rb"[][{}]")


def read_json(data: bytes) -> Any:
    """Decode UTF-8 JSON strictly.

    Args:
        data: Content of the file.

    Raises:
        ValueError: The data are not UTF-8 JSON, repeat a key in an object, hold NaN, an infinity
            or half a surrogate pair, or are nested too deeply.
    """
    _check_depth(data)
    content = json.loads(
        data.decode("utf-8"),
        object_pairs_hook=_without_repeats,
        parse_constant=_finite,
        parse_float=_finite,
    )
    _canonical(content)
    return content


def seal(content: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a manifest's canonical form.

    The key of the seal itself is left out.

    The canonical form is JSON with sorted keys, without spaces, in UTF-8. Numbers are written as
    Python's ``repr`` writes them.

    Args:
        content: Decoded manifest.

    Returns:
        64 lower-case hexadecimal digits.

    Raises:
        ValueError: The content holds NaN, an infinity or half a surrogate pair.
    """
    rest = {key: value for key, value in content.items() if key != SEAL}
    return hashlib.sha256(_canonical(rest)).hexdigest()


def sealed(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return a manifest with its seal as the second key.

    Raises ValueError; see seal.
    """
    digest = seal(content)
    result: dict[str, Any] = {}
    for key, value in content.items():
        if key != SEAL:
            result[key] = value
            result.setdefault(SEAL, digest)
    return result


def check_seal(content: Mapping[str, Any]) -> None:
    """Raise ValueError unless the manifest has the SHA-256 of its own content."""
    if SEAL not in content:
        raise ValueError(f"expected the key {SEAL}, found none")
    if content[SEAL] != seal(content):
        raise ValueError(f"the content differs from its {SEAL}")


def today() -> str:
    """Return the day for ``created``.

    It is today in UTC, or the day of SOURCE_DATE_EPOCH if that is set.

    Raises:
        InputError: SOURCE_DATE_EPOCH is not a number of seconds.
    """
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    try:
        moment = datetime.fromtimestamp(int(epoch), UTC) if epoch else datetime.now(UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise InputError(
            f"expected SOURCE_DATE_EPOCH in seconds since 1970, got {shown(epoch)}. Unset it"
        ) from error
    return moment.date().isoformat()


def _canonical(content: Any) -> bytes:
    text = json.dumps(
        content, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    return text.encode("utf-8")


def _check_depth(data: bytes) -> None:
    if data.count(b"[") + data.count(b"{") > _MOST_OBJECTS:
        raise ValueError(f"expected at most {_MOST_OBJECTS:,} lists and objects")
    depth = 0
    for bracket in _BRACKET.finditer(_STRING.sub(b"", data)):
        depth += 1 if bracket.group() in b"[{" else -1
        if depth < 0:
            raise ValueError("a bracket is closed that was not opened")
        if depth > _MOST_DEPTH:
            raise ValueError(f"expected at most {_MOST_DEPTH} levels of lists and objects")


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise ValueError(f"the key {shown(key)} appears twice in one object")
            seen.add(key)
    return result


def _finite(text: str) -> float:
    """Read a number; of ``NaN``, ``Infinity`` and 1e999 raise ValueError."""
    if not math.isfinite(value := float(text)):
        raise ValueError(f"expected a finite number, got {text[:40]}")
    return value


def check_names(*names: str | None) -> None:
    """Check name and version before minutes of work depend on them. Raises InputError."""
    for text in names:
        if text is not None and (len(text) > MAX_NAME or not text.isprintable()):
            raise InputError(
                f"expected a name or version of at most {MAX_NAME} printable characters, got "
                f"{shown(text)}"
            )
