"""Values of Thrift's compact protocol, in which parquet files describe themselves.

See https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md.
"""

from __future__ import annotations

from typing import Any

BOOLS = (1, 2)
BYTE, I16, I32, I64, DOUBLE, BINARY, LIST, SET, STRUCT = 3, 4, 5, 6, 7, 8, 9, 10, 12
_MOST_DEPTH = 12
_MOST_BINARY_KEPT = 1024


class Struct:
    """Fields of one struct by number, with the kind of each."""

    def __init__(self) -> None:
        self.fields: dict[int, tuple[int, Any]] = {}

    def get(self, number: int, kind: int) -> Any:
        """Return a field, or None. A field of another kind counts as missing, as in Thrift."""
        stored, value = self.fields.get(number, (kind, None))
        return value if stored == kind else None

    def need(self, number: int, kind: int) -> Any:
        """Return a field. Raises ValueError if it is missing."""
        value = self.get(number, kind)
        if value is None:
            raise ValueError(f"field {number} is missing")
        return value


class Reader:
    """Reader of structs; raises ValueError or IndexError for damaged data.

    Args:
        data: Bytes that begin with a struct.
        most_values: Largest number of fields and items to read.
    """

    def __init__(self, data: bytes, most_values: int) -> None:
        self.data = data
        self.left = most_values
        self.at = 0

    def struct(self, depth: int = 0) -> Struct:
        """Read a struct."""
        struct = Struct()
        number = 0
        while head := self._byte():
            number = number + (head >> 4) if head >> 4 else self._zigzag()
            kind = head & 15
            if number in struct.fields:
                raise ValueError(f"field {number} is there twice")
            struct.fields[number] = kind, self._value(kind, depth)
        return struct

    def _value(self, kind: int, depth: int) -> Any:
        self.left -= 1
        if self.left < 0 or depth > _MOST_DEPTH:
            raise ValueError("there are too many values")
        if kind in BOOLS:
            return kind == 1
        if kind == BYTE:
            return self._byte()
        if kind in (I16, I32, I64):
            return self._zigzag()
        if kind == DOUBLE:
            return self._bytes(8)
        if kind == BINARY:
            return self._bytes(self._varint())
        if kind in (LIST, SET):
            return self._list(depth)
        if kind == STRUCT:
            return self.struct(depth + 1)
        raise ValueError("a field is of an unknown kind")

    def _list(self, depth: int) -> list[Any]:
        head = self._byte()
        count = self._varint() if head >> 4 == 15 else head >> 4
        kind = head & 15
        if count > self.left:
            raise ValueError("a list is too long")
        # A list of booleans has a byte for each, where a field has its value in its kind.
        read_as = BYTE if kind in BOOLS else kind
        return [self._value(read_as, depth + 1) for _ in range(count)]

    def _bytes(self, length: int) -> bytes:
        start = self.at
        self.at += length
        if self.at > len(self.data):
            raise ValueError("a text is longer than the data")
        return self.data[start : min(self.at, start + _MOST_BINARY_KEPT)]

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
