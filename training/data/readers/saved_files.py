"""Files of a ``save_to_disk`` folder, checked before ``datasets`` follows what they name.

Arrow files are streams of messages, each with a flatbuffer in front; see
https://arrow.apache.org/docs/format/Columnar.html and Message.fbs there. Field numbers below are
those of its tables.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fer_edge.errors import DataError
from fer_edge.shown import shown
from fer_edge.training.data.bounds import check_rows, read_json

_DICTIONARY_BATCH, _RECORD_BATCH = 2, 3
_MOST_FILES = 10_000
_COMPRESSION = 3


def check_saved(folder: Path) -> None:
    """Raise DataError if a saved data set is unsafe to read.

    It is if it names files of other folders, or promises too much.
    """
    for part in _parts(folder):
        state = part / "state.json"
        listed = read_json(state)
        names = listed.get("_data_files") if isinstance(listed, dict) else None
        if not isinstance(names, list) or len(names) > _MOST_FILES:
            raise DataError(f"expected a list of data files in {state}. Save the data set again")
        for entry in names:
            name = entry.get("filename") if isinstance(entry, dict) else None
            file = part / str(name)
            if not _is_plain(name) or not _is_own_file(file, folder):
                raise DataError(
                    f"expected only files beside {state}, but it names {shown(name)}. Save the "
                    "data set again"
                )
            _check_arrow(file)


def _parts(folder: Path) -> list[Path]:
    listed = folder / "dataset_dict.json"
    if not listed.exists():
        return [folder]
    content = read_json(listed)
    names = content.get("splits") if isinstance(content, dict) else None
    if not isinstance(names, list) or not all(map(_is_plain, names)):
        raise DataError(
            f"expected the names of parts, each a folder beside {listed}, got {shown(names)}. "
            "Save the data set again"
        )
    parts = [folder / name for name in names]
    if outside := [p for p in parts if p.resolve().parent != folder.resolve()]:
        raise DataError(f"expected parts in {folder}, but {outside[0]} is a link elsewhere")
    return parts


def _is_plain(name: Any) -> bool:
    """Return True for a name of one entry of a folder."""
    return (
        isinstance(name, str)
        and name not in ("", ".", "..")
        and not set(name) & set("/\\:\0")
        and len(name) <= 255
    )


def _is_own_file(file: Path, folder: Path) -> bool:
    return file.is_file() and file.resolve().is_relative_to(folder.resolve())


def _check_arrow(path: Path) -> None:
    """Raise DataError if a file's batches promise more rows than it can hold."""
    size = path.stat().st_size
    rows = 0
    try:
        for kind, table in _headers(path, size):
            if kind == _DICTIONARY_BATCH:
                table = table.inner(1)
            elif kind != _RECORD_BATCH:
                continue
            rows += table.number(0)
            check_rows(rows, size, path)
            if table.has(_COMPRESSION):
                raise DataError(
                    f"{path} is compressed, which datasets does not write. Save the data set again"
                )
    except (struct.error, IndexError) as error:
        raise DataError(f"cannot read {path}: it is damaged ({error})") from error


def _headers(path: Path, size: int) -> Iterator[tuple[int, _Table]]:
    """Yield the type and the header of each message."""
    with path.open("rb") as file:
        at = 0
        while at + 8 <= size:
            file.seek(at)
            mark, length = struct.unpack("<Ii", file.read(8))
            if mark != 0xFFFFFFFF or length == 0:
                return
            if not 0 < length <= size - at:
                raise struct.error("a message is longer than the file")
            message = _Table.root(file.read(length))
            body = message.number(3)
            if not 0 <= body <= size - at:
                raise struct.error("a batch is longer than the file")
            yield message.number(1, "B"), message.inner(2)
            at += 8 + length + body


class _Table:
    """A table of a flatbuffer, with the offset of each numbered field.

    Offsets count from the table's start.
    """

    def __init__(self, data: bytes, at: int) -> None:
        self.data, self.at = data, at
        self.fields = at - struct.unpack_from("<i", data, at)[0]
        if self.fields < 0:
            raise IndexError("an offset is negative")
        self.count = (struct.unpack_from("<H", data, self.fields)[0] - 4) // 2

    @staticmethod
    def root(data: bytes) -> _Table:
        return _Table(data, struct.unpack_from("<I", data)[0])

    def has(self, field: int) -> bool:
        return self._offset(field) != 0

    def number(self, field: int, form: str = "q") -> int:
        """Return a number, 0 if it is not stored."""
        offset = self._offset(field)
        return int(struct.unpack_from(f"<{form}", self.data, self.at + offset)[0]) if offset else 0

    def inner(self, field: int) -> _Table:
        """Return the table that a field refers to."""
        offset = self._offset(field)
        if not offset:
            raise IndexError("a header is missing")
        at = self.at + offset
        return _Table(self.data, at + int(struct.unpack_from("<I", self.data, at)[0]))

    def _offset(self, field: int) -> int:
        if field >= self.count:
            return 0
        return int(struct.unpack_from("<H", self.data, self.fields + 4 + 2 * field)[0])
