"""Footer and page headers of a parquet file, read before pyarrow sees the file.

A column's entry in the footer does not bound the memory: each page states the size that it unpacks
to, and pyarrow allocates it. And pyarrow's own view of a column ends the process with an uncaught
C++ exception for some damaged footers. The structs are those of parquet.thrift, see
https://github.com/apache/parquet-format.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from fer_edge.errors import DataError
from fer_edge.training.data.readers.thrift import I32, I64, LIST, STRUCT, Reader, Struct

_MAGIC = b"PAR1"
_HEADER_BYTES = 64 * 1024
"""Largest header of a page; statistics in it hold two values of the column."""
_HEADER_VALUES = 1000
_FREE_VALUES = 20_000
_BYTES_PER_VALUE = 256
"""Bytes of a file per value of its footer beyond the free ones. ``pack`` writes thousands."""
_DATA, _DATA_V2 = 0, 3
_VALUES_IN = {_DATA: 5, _DATA_V2: 8}
"""Field of PageHeader with the number of values, by type of page."""


class Column(NamedTuple):
    """One column of one row group, as the footer states it.

    Attributes:
        path: Name, with dots between levels.
        values: Number of values.
        unpacked: Size in bytes after decompression.
        start: Offset of its first page in the file.
        stored: Size of its pages in the file.
    """

    path: str
    values: int
    unpacked: int
    start: int
    stored: int


class Group(NamedTuple):
    """One row group.

    Attributes:
        rows: Number of rows.
        columns: Its columns.
    """

    rows: int
    columns: list[Column]


class Page(NamedTuple):
    """One page of a column.

    Attributes:
        unpacked: Size in bytes after decompression, as stated.
        values: Number of values, as stated; 0 for a dictionary.
    """

    unpacked: int
    values: int


def row_groups(file: BinaryIO, size: int, where: object) -> list[Group]:
    """Return the row groups that a file's footer states.

    Raises:
        DataError: The file is not a parquet file, or its footer is damaged.
    """
    try:
        file.seek(max(size - 8, 0))
        length, magic = struct.unpack("<I4s", file.read(8))
        if magic != _MAGIC or length > size - 12:
            raise ValueError("it has no footer of a parquet file")
        file.seek(size - 8 - length)
        values = _FREE_VALUES + size // _BYTES_PER_VALUE
        footer = Reader(file.read(length), values).struct()
        return [_group(group) for group in footer.need(4, LIST)]
    except (ValueError, IndexError, AttributeError, TypeError, struct.error) as error:
        raise DataError(f"cannot read {where}: {error}. Write or copy the file again") from error


def _group(group: Struct) -> Group:
    return Group(group.need(3, I64), [_column(column) for column in group.need(1, LIST)])


def _column(chunk: Struct) -> Column:
    column = chunk.need(3, STRUCT)
    start = column.need(9, I64)
    dictionary = column.get(11, I64) or 0
    return Column(
        b".".join(column.need(3, LIST)).decode("utf-8", "replace"),
        column.need(5, I64),
        column.need(6, I64),
        min(start, dictionary) if dictionary > 0 else start,
        column.need(7, I64),
    )


def pages(file: BinaryIO, column: Column, where: object) -> Iterator[Page]:
    """Yield the pages of a column.

    Raises:
        DataError: A page lies outside the column, or its header cannot be read.
    """
    at, end = column.start, column.start + column.stored
    while 0 <= at < end:
        file.seek(at)
        reader = Reader(file.read(_HEADER_BYTES), _HEADER_VALUES)
        try:
            header = reader.struct()
            kind, unpacked, stored = (header.need(i, I32) for i in (1, 2, 3))
            inner = _VALUES_IN.get(kind)
            values = header.need(inner, STRUCT).need(1, I32) if inner else 0
        except (ValueError, IndexError) as error:
            raise DataError(f"cannot read {where}: a page at byte {at} is damaged") from error
        at += reader.at + stored
        if unpacked < 0 or stored < 0 or values < 0 or at > end:
            raise DataError(f"cannot read {where}: a page states impossible sizes")
        yield Page(unpacked, values)
