"""Bounds on a data file's promises, checked before memory is taken."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from fer_edge.errors import DataError

MAX_ROWS = 4_000_000
"""Largest number of pictures in one file, or of rows in a list; AffectNet has 450,000."""
_ANY_ROWS = 10_000
"""Rows that a file of any size may have."""
_LEAST_BYTES = 64
"""Least bytes of a picture in a file. The smallest PNG of 8x8 pixels has more."""
MOST_EXPANSION = 16
"""Largest ratio of a file's content in memory to its size. Encoded pictures do not compress."""
_FREE_BYTES = 16 << 20
"""Bytes in memory that a file of any size may take."""
_MOST_JSON_BYTES = 1 << 20


def check_rows(rows: int, size: int, where: object) -> None:
    """Raise DataError if ``size`` bytes cannot hold this many pictures."""
    if not 0 <= rows <= min(MAX_ROWS, max(_ANY_ROWS, size // _LEAST_BYTES)):
        raise DataError(
            f"{where} promises {rows:,} pictures, but the file has {size:,} bytes: it is damaged, "
            "or holds something else. Write it again with fer-edge data pack"
        )


def check_listed(rows: int, where: object) -> None:
    """Raise DataError for a list of more than MAX_ROWS rows."""
    if rows > MAX_ROWS:
        raise DataError(f"expected at most {MAX_ROWS:,} rows in {where}, got more. Divide the list")


def most_memory(size: int) -> int:
    """Return the largest memory in bytes for a file of ``size`` bytes."""
    return _FREE_BYTES + MOST_EXPANSION * size


def check_memory(promised: int, size: int, where: object) -> None:
    """Raise DataError if ``size`` bytes unpack to more than ``most_memory``."""
    if not 0 <= promised <= most_memory(size):
        raise DataError(
            f"{where} unpacks to {promised:,} bytes, but the file has {size:,}: it is damaged, or "
            "repeats its pictures. Write it again with fer-edge data pack"
        )


def read_json(path: Path) -> Any:
    """Read a small JSON file of a data set. Raises DataError."""
    if not path.is_file() or path.stat().st_size > _MOST_JSON_BYTES:
        raise DataError(f"expected a JSON file of at most {_MOST_JSON_BYTES >> 20} MiB at {path}")
    try:
        return json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is not readable JSON: {error}") from error
