"""Manifest of clips: a CSV or Parquet table with a row for each clip."""

from __future__ import annotations

import csv
import io
import math
import os
import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from fer_edge.errors import InputError, next_step
from fer_edge.fleet import remote
from fer_edge.fleet.clips import Clip, absolute, local_clip
from fer_edge.libraries import needed
from fer_edge.paths import as_path
from fer_edge.shown import shown, without_password

COLUMNS = ("path", "drive", "clip", "camera", "start", "speed_kmh", "signals", "attentive")
"""Columns that are read; only ``path`` is required. Others are left alone."""
_OTHER_NAMES = {"start_time": "start", "vehicle_speed": "speed_kmh", "speed": "speed_kmh"}
MAX_BYTES = 256 << 20
"""Largest manifest in bytes. A million rows of 100 characters have 100 MB."""
_MOST_ROWS = 2_000_000
_MOST_TEXT = 4096
_MOST_KMH = 1000.0
"""Largest speed in km/h. Higher ones are mistakes."""
_YEARS = 1970, 2200
_MOST_FAULTS = 5
_MOST_ESCAPES = 3
"""Largest number of times that an address may be escaped."""


def read_manifest(path: str | Path, *, root: str | Path | None = None) -> list[Clip]:
    """Read the clips of a manifest.

    Args:
        path: CSV in UTF-8, or Parquet. Columns: ``path``; optional are ``drive``, ``clip``,
            ``camera``, ``start`` (ISO 8601; UTC without a zone), ``speed_kmh``, ``signals`` and
            ``attentive``.
        root: Folder or address that paths start from and must stay in. None takes the
            manifest's own folder.

    Returns:
        One clip a row. A row whose file is missing is a clip too; scoring it gives an error row.

    Raises:
        InputError: The table cannot be read, or a row has a path outside ``root``, a value that
            is none, or names the clip of another row again.
    """
    as_path(path, "the manifest")  # a check alone: path may be an address
    name = os.fspath(path)
    public = without_password(name)
    base = _folder_of(name)
    if root is not None:
        as_path(root, "root")  # a check alone: root may be an address
        base = os.fspath(root)
    rows = table(name, COLUMNS, "path")
    clips: list[Clip] = []
    faults: list[str] = []
    seen: dict[tuple[str, str | None], int] = {}
    for number, row in rows:
        try:
            clip = _clip(row, base)
        except InputError as error:
            faults.append(f"row {number}: {error}")
            continue
        first = seen.setdefault((clip.path, clip.camera), number)
        if first != number:
            faults.append(f"row {number}: names the clip of row {first} again")
        clips.append(clip)
    if faults:
        more = f"; and {len(faults) - _MOST_FAULTS} more" if len(faults) > _MOST_FAULTS else ""
        shown_faults = "; ".join(faults[:_MOST_FAULTS])
        raise InputError(
            f"cannot use the manifest {public}: {shown_faults}{more}. Correct the rows"
        )
    if not clips:
        raise InputError(f"expected a row for each clip in {public}, got none. Add rows")
    return clips


def _folder_of(name: str) -> str:
    if remote.is_address(name):
        return remote.plain_address(name).rsplit("/", 1)[0]
    return str(Path(name).parent)


def table(
    name: str, columns: Sequence[str], required: str
) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Yield number and values of each row of a CSV or Parquet file.

    Args:
        name: Path or address.
        columns: Columns to read; others are left alone.
        required: Column that must be there.

    Raises:
        InputError: The file cannot be read, is too large, or has no such column.
    """
    if remote.is_address(name):
        data = remote.read_bytes(name, MAX_BYTES)
    else:
        try:
            if not Path(name).is_file():  # a pipe would keep the reader waiting
                raise InputError(f"expected a file with a table, got {name}. Check the path")
            if Path(name).stat().st_size > MAX_BYTES:
                raise InputError(
                    f"expected a table of at most {MAX_BYTES >> 20} MiB: {name}. Split it"
                )
            data = Path(name).read_bytes()
        except OSError as error:
            advice = next_step(error, "Check the path")
            raise InputError(f"cannot read {name}: {error.strerror}. {advice}") from error
    read = _parquet if remote.plain_address(name).lower().endswith(".parquet") else _csv
    yield from read(without_password(name), data, columns, required)


def _csv(
    name: str, data: bytes, known: Sequence[str], required: str
) -> Iterator[tuple[int, Mapping[str, Any]]]:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"expected a table in UTF-8: {name} ({error})") from error
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        columns = _columns(name, list(reader.fieldnames or ()), known, required)
        for row in reader:
            if reader.line_num > _MOST_ROWS:
                raise InputError(f"expected at most {_MOST_ROWS:,} rows in {name}. Split it")
            if None in row:
                raise InputError(
                    f"row {reader.line_num} of {name} has too many cells. Correct the row"
                )
            yield reader.line_num, {columns[key]: row[key] for key in row if key in columns}
    except csv.Error as error:
        raise InputError(f"{name} is not readable CSV: {error}") from error


def _parquet(
    name: str, data: bytes, known: Sequence[str], required: str
) -> Iterator[tuple[int, Mapping[str, Any]]]:
    with needed("pyarrow", "fleet"):
        import pyarrow as pa
        import pyarrow.parquet as pq
    try:
        file = pq.ParquetFile(pa.BufferReader(data))
        if file.metadata.num_rows > _MOST_ROWS:
            raise InputError(f"expected at most {_MOST_ROWS:,} rows in {name}. Split it")
        columns = _columns(name, list(file.schema_arrow.names), known, required)
        number = 0
        for batch in file.iter_batches(columns=list(columns)):
            for row in _plain_times(batch).to_pylist():
                number += 1
                yield number, {columns[key]: value for key, value in row.items()}
    except InputError:
        raise
    except Exception as error:  # pyarrow raises many kinds for damaged files
        raise InputError(f"{name} is not readable Parquet: {str(error)[:200]}") from error


def _plain_times(batch: Any) -> Any:
    """Return the batch with times in microseconds; Python has no finer ones."""
    import pyarrow as pa

    for place, field in enumerate(batch.schema):
        if pa.types.is_timestamp(field.type):
            kind = pa.timestamp("us", field.type.tz)
            batch = batch.set_column(place, field.name, batch.column(place).cast(kind, safe=False))
    return batch


def _columns(name: str, header: list[str], known: Sequence[str], required: str) -> dict[str, str]:
    """Return our name of each column that is read."""
    columns: dict[str, str] = {}
    for column in header:
        plain = str(column).strip().lower()
        plain = _OTHER_NAMES.get(plain, plain)
        if plain in known:
            if plain in columns.values():
                raise InputError(f"{name} has the column {plain} twice. Remove one")
            columns[column] = plain
    if required not in columns.values():
        raise InputError(
            f"expected a column {required} in {name}, separated by commas, got "
            f"{shown(header[:20])}. Correct the first row"
        )
    return columns


def _clip(row: Mapping[str, Any], base: str) -> Clip:
    path = _text(row, "path")
    if path is None:
        raise InputError("the path is empty")
    place = inside(base, path)
    query = place.removeprefix(remote.plain_address(place))  # may be a signature, and a new one
    lasting = without_password(path.removesuffix(query))
    folder = posixpath.dirname(lasting.replace(os.sep, "/"))
    drive = _text(row, "drive") or folder or "root"
    signals = _text(row, "signals")
    facts: dict[str, Any] = {
        "camera": _text(row, "camera"),
        "start": _moment(row.get("start")),
        "speed_kmh": _speed(row.get("speed_kmh")),
        "signals": None if signals is None else inside(base, signals),
        "attentive": _truth(row.get("attentive")),
    }
    name = _text(row, "clip") or lasting
    if remote.is_address(place):
        size, stamp = remote.size_and_stamp(place)
        return Clip(place, drive, name, size=size, stamp=stamp, **facts)
    return local_clip(Path(place), drive, name, **facts)


def inside(base: str, path: str) -> str:
    """Return the place of a path that stays below ``base``.

    Raises:
        InputError: The path has ``..``, or leads out of ``base``, also over a link.
    """
    if remote.is_address(base) or remote.is_address(path):
        if not remote.is_address(path):
            path = f"{base.rstrip('/')}/{path}"
        parts = _parts_for_a_server(remote.plain_address(path))
        if ".." in parts or not path.startswith(f"{base.rstrip('/')}/"):
            raise InputError(
                without_password(f"{shown(path)} lies outside {base}. Name the folder with --root")
            )
        return path
    root = Path(base).resolve()
    if ".." in Path(path).parts:  # over a link, its meaning depends on who reads it
        raise InputError(f"expected a path without '..', got {shown(path)}. Name it below {base}")
    try:
        target = (root / path).resolve()
    except (OSError, ValueError, RuntimeError) as error:
        raise InputError(f"{shown(path)} is not a valid path: {error}") from error
    if not target.is_relative_to(root):
        raise InputError(f"{shown(path)} lies outside {base}. Name the folder with --root")
    return absolute(root / path)


def _parts_for_a_server(path: str) -> set[str]:
    """Return the folders and names of an address as a server may read them.

    Servers undo escapes such as ``%2e%2e%2f``, some of them twice, and take ``\\`` as ``/``.
    """
    read = path
    for _ in range(_MOST_ESCAPES + 1):
        before, read = read, re.sub(r"[\t\r\n]", "", unquote(read)).replace("\\", "/")
    if read != before:  # to undo all of them takes long
        raise InputError(
            without_password(f"{shown(path)} is escaped more than {_MOST_ESCAPES} times. ")
            + "Write it with single escapes"
        )
    return {part.partition(";")[0] for part in read.split("/")}


def _text(row: Mapping[str, Any], column: str) -> str | None:
    value = row.get(column)
    if _is_empty(value):
        return None
    if isinstance(value, float) and value.is_integer():  # and 12.0 beside one
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise InputError(f"expected {column} as text, got {shown(value)}")
    text = str(value).strip()
    if len(text) > _MOST_TEXT or "\0" in text:
        raise InputError(f"expected {column} of at most {_MOST_TEXT} characters, got {shown(text)}")
    return text or None


def _is_empty(value: object) -> bool:
    return value is None or value == "" or value != value  # NaN of pandas


def _moment(value: object) -> datetime | None:
    if _is_empty(value):
        return None
    moment = value if isinstance(value, datetime) else None
    if moment is None:
        try:
            moment = datetime.fromisoformat(str(value).strip())
        except ValueError:
            raise InputError(
                f"expected start like 2026-11-25T08:30:00+01:00, got {shown(value)}"
            ) from None
    if not _YEARS[0] <= moment.year < _YEARS[1]:
        raise InputError(f"expected start in the years {_YEARS[0]} to {_YEARS[1]}: {moment}")
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)


def _speed(value: object) -> float | None:
    if _is_empty(value):
        return None
    try:
        speed = math.nan if isinstance(value, bool) else float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        speed = math.nan
    if not 0 <= speed <= _MOST_KMH:
        raise InputError(f"expected speed_kmh from 0 to {_MOST_KMH:g}, got {shown(value)}")
    return speed


def _truth(value: object) -> bool | None:
    if _is_empty(value):
        return None
    text = str(value).strip().lower()
    if text in ("", "nan"):
        return None
    if text not in ("true", "1", "1.0", "yes", "false", "0", "0.0", "no"):
        raise InputError(f"expected attentive as true or false, got {shown(value)}")
    return text in ("true", "1", "1.0", "yes")
