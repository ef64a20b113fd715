"""Reader of tar shards, the layout of WebDataset.

The members of one picture follow each other and share a key: ``0001.jpg`` with ``0001.cls`` (a
name or number) or ``0001.json`` (the columns of a table). See
https://github.com/webdataset/webdataset.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from fer_edge.errors import DataError
from fer_edge.images.files import IMAGE_SUFFIXES
from fer_edge.paths import is_clutter
from fer_edge.shown import shown
from fer_edge.training.data.bounds import check_rows
from fer_edge.training.data.dataset_spec import DatasetSpec, StoredFace, check_part, check_shard
from fer_edge.training.data.lazy_rows import LazyRow
from fer_edge.training.data.picture_files import PassedOver, utf8_name, without_clutter
from fer_edge.training.data.readers.tables import LABELS, from_columns, is_used, used_columns

_BLOCK = tarfile.BLOCKSIZE
_MOST_HEADER_BYTES = 64 << 10
"""Largest size in bytes of one member's headers: WebDataset's have 1.5 KiB."""
_MOST_CELL_BYTES = 64 << 10
"""Largest size in bytes of a member with a label or columns."""
_PIECE_BYTES = 1 << 20
_MOST_NAME = 4096
_MOST_COLUMNS = 64
"""Largest number of columns; FER+ has ten of votes."""


def fits(path: Path) -> bool:
    return path.suffix == ".tar" or (path.is_dir() and bool(without_clutter(path, "*.tar")))


def read(source: DatasetSpec, split: str | None) -> Iterator[StoredFace | PassedOver]:
    """Read one shard, or a folder of shards.

    The name of a file tells its part; a file without one is train. Pictures stay in the shards.
    """
    if source.file.is_dir():
        check_part(source, split, ())
        shards = without_clutter(source.file, "*.tar")
    else:
        shards = [source.file]
        check_shard(source, split)
    passed_over = PassedOver()
    for path in shards:
        if not path.is_file():  # opening a FIFO would wait forever
            raise DataError(f"expected a tar file at {path}, found none")
        try:
            pictures, keys, columns = _listed(path, source.columns or (), passed_over)
        except (DataError, OSError):
            raise
        except Exception as error:  # a damaged header can make tarfile raise anything
            raise DataError(
                f"cannot read {path}: {error}. Shards are tar files without compression"
            ) from error
        if pictures:
            used = used_columns(["image", *columns], path, source.columns)
            kept = {name: columns[name] for name in used}
            yield from from_columns(pictures, kept, path, source, keys=keys)
    yield passed_over


def open_pictures(path: str) -> Any:
    """Open a shard; LazyRow pickles this function by name."""
    return _Pictures(path)


class _Pictures:
    """Pictures of a shard, by the offset of their bytes."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __getitem__(self, index: int) -> bytes:
        with Path(self.path).open("rb") as file:  # forked processes and threads share no position
            file.seek(index - _BLOCK)
            return file.read(_size(file.read(_BLOCK)))


def _size(header: bytes) -> int:
    """Return the size that a member's last header states. Raises ValueError."""
    try:
        size = tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape").size
    except tarfile.TarError as error:
        raise ValueError(f"the shard has changed since it was listed: {error}") from error
    if size < 0:
        raise ValueError(f"the shard states a size of {size} bytes")
    return size


class _Headers:
    """File from which tarfile can read the headers of one member at a time.

    tarfile believes the size of an extended header.
    """

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self.path, self.file, self.left = path, file, _MOST_HEADER_BYTES
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int) -> bytes:
        self.left -= size
        if size < 0 or self.left < 0:
            raise DataError(
                f"expected headers of at most {_MOST_HEADER_BYTES >> 10} KiB for a member of "
                f"{self.path}"
            )
        return self.file.read(size)


def _members(path: Path, file: BinaryIO) -> Iterator[tarfile.TarInfo]:
    """Yield the regular files of a shard. Raises DataError for links and devices."""
    size, offset = path.stat().st_size, -1
    headers: Any = _Headers(path, file)
    with tarfile.open(fileobj=headers, mode="r:", encoding="utf-8") as tar:
        while (member := tar.next()) is not None:
            tar.members.clear()  # type: ignore[attr-defined]  # tarfile keeps every member
            headers.left = _MOST_HEADER_BYTES
            if not (offset < member.offset < member.offset_data <= tar.offset) or not (
                0 <= member.size <= size - member.offset_data
            ):
                raise DataError(f"{path} is cut off or damaged at byte {max(offset, 0):,}")
            offset = member.offset
            _check_name(member.name, path)
            if member.isdir():
                continue
            if not member.isreg() or member.issparse():
                raise DataError(
                    f"expected only files in {path}, but {shown(member.name)} is a link or device. "
                    "Write the shard again with the files themselves"
                )
            yield member
        # A damaged header ends the list as well, without an error.
        file.seek(tar.offset)
        if file.read(_BLOCK) != bytes(_BLOCK):
            raise DataError(f"{path} is cut off or damaged at byte {tar.offset:,}")
        while padding := file.read(_PIECE_BYTES):
            if padding.count(0) < len(padding):
                raise DataError(
                    f"{path} goes on after its end mark at byte {tar.offset:,}. If tars were "
                    "joined with cat, use each as a shard of its own"
                )


def _check_name(name: str, path: Path) -> None:
    if len(name) > _MOST_NAME or name.startswith("/") or ".." in PurePosixPath(name).parts:
        raise DataError(f"expected names inside {path}, found {shown(name)}")


def _listed(
    path: Path, more: Sequence[str], passed_over: PassedOver
) -> tuple[list[LazyRow], list[str], dict[str, list[Any]]]:
    """Return the pictures of a shard, their keys, and the cells of each column."""
    at, size = (str(path.resolve()),), path.stat().st_size
    pictures: list[LazyRow] = []
    keys: list[str] = []
    columns: dict[str, list[Any]] = {}
    words: dict[tuple[type, Any], Any] = {}  # 0, 0.0 and False are equal
    with path.open("rb") as file:
        for key, offset, cells in _samples(path, file, more, passed_over):
            for name in cells:
                if name not in columns:
                    columns[name] = [None] * len(pictures)
            if len(columns) > _MOST_COLUMNS:
                raise DataError(f"expected at most {_MOST_COLUMNS} columns in {path}")
            for name, column in columns.items():
                cell = cells.get(name)
                shared = cell if name == "name" else words.setdefault((type(cell), cell), cell)
                column.append(shared)
            pictures.append(LazyRow(open_pictures, at, offset))
            keys.append(utf8_name(key))
            check_rows(len(pictures), size, path)
    return pictures, keys, columns


def _samples(
    path: Path, file: BinaryIO, more: Sequence[str], passed_over: PassedOver
) -> Iterator[tuple[str, int, dict[str, Any]]]:
    """Yield key, offset of the picture, and cells of each sample."""
    key, offset, cells, other = "", 0, dict[str, Any](), ""
    for member in _members(path, file):
        folder, _, base = member.name.rpartition("/")
        stem, _, suffix = base.partition(".")
        if is_clutter(base) or not suffix:
            passed_over.by_suffix["without a suffix"] += not is_clutter(base)
            continue
        if f"{folder}/{stem}" != key:
            yield from _complete(path, key, offset, cells, other)
            key, offset, cells, other = f"{folder}/{stem}", 0, {}, ""
        suffix = suffix.lower()
        if f".{suffix}" in IMAGE_SUFFIXES:
            if offset:
                raise DataError(f"expected one picture for the key {shown(key)} of {path}, got two")
            offset = _picture(member, path, file)
        elif suffix in ("cls", "json"):
            text = _text(member, path, file)
            cells = (
                cells | _cells(text, member, more)
                if suffix == "json"
                else {
                    "label": text,
                    **cells,
                }
            )
        else:
            passed_over.by_suffix[utf8_name(f".{suffix}")] += 1
            other = base if PurePosixPath(base).suffix.lower() in IMAGE_SUFFIXES else other
    yield from _complete(path, key, offset, cells, other)


def _complete(
    path: Path, key: str, offset: int, cells: dict[str, Any], other: str
) -> Iterator[tuple[str, int, dict[str, Any]]]:
    """Yield a sample; nothing for a key whose members were all passed over."""
    if cells and not offset and other:
        raise DataError(
            f"the key {shown(key)} of {path} has labels, but its picture {shown(other)} does not "
            "count: a key ends at the first dot. Write the shard again without other dots in its "
            "names"
        )
    if cells and not offset:
        raise DataError(
            f"the key {shown(key)} of {path} has no picture beside it. The members of a key follow "
            "each other: write the shard with tar --sort=name"
        )
    if offset:
        yield key.lstrip("/"), offset, cells


def _picture(member: tarfile.TarInfo, path: Path, file: BinaryIO) -> int:
    """Return the offset of a picture. Raises DataError if its size is not in its last header."""
    file.seek(member.offset_data - _BLOCK)
    if _size(file.read(_BLOCK)) != member.size:
        raise DataError(f"{path} states two sizes for {shown(member.name)}")
    return member.offset_data


def _text(member: tarfile.TarInfo, path: Path, file: BinaryIO) -> str:
    if member.size > _MOST_CELL_BYTES:
        raise DataError(
            f"expected at most {_MOST_CELL_BYTES >> 10} KiB in {shown(member.name)} of {path}, got "
            f"{member.size:,} bytes"
        )
    file.seek(member.offset_data)
    return file.read(member.size).decode("utf-8-sig", "replace").strip()


def _cells(text: str, member: tarfile.TarInfo, more: Sequence[str]) -> dict[str, Any]:
    """Return the columns that are used; the label is called ``label``."""
    try:
        row = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{shown(member.name)} is not readable JSON: {error}") from error
    if not isinstance(row, dict):
        raise DataError(f"expected an object in {shown(member.name)}, got {shown(row)}")
    label = next((row[name] for name in LABELS if name in row), None)
    cells = {name: cell for name, cell in row.items() if is_used(name, more)}
    cells |= {} if label is None else {"label": label}
    for name, cell in cells.items():
        if isinstance(cell, list | dict):
            raise DataError(f"expected a name or number in {shown(member.name)}, {shown(name)}")
    return cells
