"""Page headers of a parquet file, read before pyarrow allocates memory.

The file's metadata does not bound the memory: each page states the size that it unpacks to, and
pyarrow allocates it. The headers are in Thrift's compact protocol; see
https://github.com/apache/parquet-format (PageHeader in parquet.thrift) and
https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, BinaryIO, NamedTuple

from fer_edge.errors import DataError

_HEADER_BYTES = 64 * 1024
"""Largest header of a page; statistics in it hold two values of the column."""
_MOST_FIELDS = 1000
_BOOLS, _VARINTS, _DOUBLE, _BINARY, _LISTS, _STRUCT = (1, 2), (4, 5, 6), 7, 8, (9, 10), 12
_HEADERS = (5, 7, 8)
"""Fields of PageHeader with the header of its kind: data page, dictionary page, data page v2."""
_DICTIONARY = 7


class Page(NamedTuple):
    """One page of a column.

    Attributes:
        unpacked: Size in bytes after decompression, as stated.
        values: Number of values, as stated; 0 for a dictionary.
    """

    unpacked: int
    values: int


def pages(file: BinaryIO, column: Any, where: object) -> Iterator[Page]:
    """Yield the pages of a column chunk; ``column`` is pyarrow's ColumnChunkMetaData.

    Raises:
        DataError: A page lies outside the chunk, or its header cannot be read.
    """
    at = column.data_page_offset
    if column.has_dictionary_page and column.dictionary_page_offset:
        at = min(at, column.dictionary_page_offset)
    end = at + column.total_compressed_size
    while at < end:
        file.seek(max(at, 0))
        data = file.read(_HEADER_BYTES)
        try:
            reader = _Compact(data)
            header = reader.struct()
            unpacked, stored = header[2], header[3]
            kind = next(key for key in _HEADERS if key in header)
            values = 0 if kind == _DICTIONARY else header[kind][1]
        except (LookupError, StopIteration, TypeError, ValueError) as error:
            raise DataError(f"cannot read {where}: a page at byte {at} is damaged") from error
        at += reader.at + stored
        if unpacked < 0 or stored < 0 or values < 0 or at > end:
            raise DataError(f"cannot read {where}: a page states impossible sizes")
        yield Page(unpacked, values)


class _Compact:
    """Values of Thrift's compact protocol; only numbers and structs are kept."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0
        self.fields = 0

    def struct(self, depth: int = 0) -> dict[int, Any]:
        """Return the fields of a struct by their number."""
        values: dict[int, Any] = {}
        number = 0
        while head := self._byte():
            self.fields += 1
            if self.fields > _MOST_FIELDS or depth > 4:
                raise ValueError("too many fields")
            number = number + (head >> 4) if head >> 4 else self._zigzag()
            values[number] = self._value(head & 15, depth)
        return values

    def _value(self, kind: int, depth: int) -> Any:
        if kind in _BOOLS:
            return kind == 1
        if kind == 3:
            return self._byte()
        if kind in _VARINTS:
            return self._zigzag()
        if kind in (_DOUBLE, _BINARY):
            length = 8 if kind == _DOUBLE else self._varint()
            self.at += length
            return None
        if kind == _STRUCT:
            return self.struct(depth + 1)
        if kind in _LISTS:
            head = self._byte()
            for _ in range(self._varint() if head >> 4 == 15 else head >> 4):
                self._value(head & 15, depth + 1)
            return None
        raise ValueError("unknown kind of field")

    def _byte(self) -> int:
        self.at += 1
        return self.data[self.at - 1]

    def _varint(self) -> int:
        value = shift = 0
        while shift < 70:
            byte = self._byte()
            value |= (byte & 127) << shift
            if byte < 128:
                return value
            shift += 7
        raise ValueError("a number is too long")

    def _zigzag(self) -> int:
        value = self._varint()
        return (value >> 1) ^ -(value & 1)
