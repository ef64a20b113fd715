"""Checks of a .tflite file without LiteRT: bounds, external data, loops, custom operations.

LiteRT follows the offsets of a flatbuffer without a look at the file's end, so a damaged file can
end the process. Newer files may also refer to weights in other files. The converter writes none of
the refused forms.

Field numbers are those of LiteRT's schema.fbs (version 3, ai-edge-litert 2.3).
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from fer_edge.errors import BundleError

IDENTIFIER = b"TFL3"
_MOST_OBJECTS = 1_000_000
"""Largest number of tables and vectors. A converted network has about 2,000."""
_BYTES_OF_AN_OBJECT = 64
"""Bytes of numbers, or of a table's layout, that count like one object."""
_MOST_SIDES = 8
"""Largest number of dimensions of a tensor. LiteRT's operations take 6 at most."""
_MOST_VALUES = 1 << 27
"""Largest number of values of a tensor. Swin-B's largest weight has 4 million."""
_MOST_SCALE = 2.0**40
"""Largest scale, as in a checkpoint. A channel of zeros may have the scale 0."""
_PADS, _MOST_PADDING = (34, 60), 1024
"""Operations that pad, and the largest padding. Convolutions need 15 or less."""
_LAYERS = (3, 4, 9, 67)
"""Operations with weights: convolutions, and matrix products."""
_MOST_FACTOR = 256.0
"""Factor of a layer's sums that XNNPACK refuses, and ends the process afterwards (2.3)."""
_UINT8 = 3
"""Type of pictures, in the schema's enumeration TensorType."""
_MOST_BUILTIN = 161
"""Highest known operation whose options hold numbers only. StableHLO's come after it."""
_REFUSED = {
    31: "CALL",
    32: "CUSTOM",
    51: "DELEGATE",
    118: "IF",
    119: "WHILE",
    129: "CALL_ONCE",
    136: "HASHTABLE",
    142: "VAR_HANDLE",
    147: "BUCKETIZE",
    29: "CONCAT_EMBEDDINGS",
}
"""Operations that loop, call external code, or have options of unknown length."""

# Table: the fields that hold offsets, by what they lead to. ``*`` is a vector of tables; a number
# is a vector of that many bytes an element.
_FIELDS: dict[str, dict[int, str | int]] = {
    "Model": {
        1: "*OperatorCode",
        2: "*SubGraph",
        3: 1,
        4: "*Buffer",
        5: 4,
        6: "*Metadata",
        7: "*SignatureDef",
    },
    "OperatorCode": {},
    "SubGraph": {0: "*Tensor", 1: 4, 2: 4, 3: "*Operator", 4: 1},
    "Tensor": {0: 4, 3: 1, 4: "Quantization", 7: 4},
    "Quantization": {0: 4, 1: 4, 2: 4, 3: 8},
    "Operator": {1: 4, 2: 4, 4: "Options", 7: 1, 8: 4},
    "Options": {},
    "ListOptions": {0: 4},
    "Buffer": {0: 1},
    "Metadata": {0: 1},
    "SignatureDef": {0: "*TensorMap", 1: "*TensorMap", 2: 1},
    "TensorMap": {0: 1},
}
# Fields that a converted network never has. Most lead out of the checked part of the file.
_FORBIDDEN = {
    "Model": {8: "external data", 9: "external data"},
    "OperatorCode": {1: "a custom operation"},
    "Tensor": {6: "sparse weights", 9: "variant tensors", 10: "external data"},
    "Quantization": {5: "custom quantisation"},
    "Operator": {
        5: "a custom operation",
        9: "external data",
        10: "external data",
        11: "StableHLO operations",
        12: "StableHLO operations",
    },
    "Buffer": {1: "external data", 2: "external data"},
}
_METADATA, _BUFFERS = 6, 4
_RESHAPE_OPTIONS, _SQUEEZE_OPTIONS = 17, 30
"""Kinds of options with a list of dimensions, in the schema's union BuiltinOptions."""


@dataclass(frozen=True)
class _Table:
    """Table of a flatbuffer: the positions of its fields by number."""

    fields: dict[int, int]


def check_tflite(data: bytes, name: str) -> None:
    """Check a model.

    Args:
        data: Content of a .tflite file.
        name: Name of the file, for messages.

    Raises:
        BundleError: The model refers to data outside it, can loop, or holds custom operations.
        ValueError: The file is not a readable .tflite file.
    """
    try:
        _Reader(data, name).scan()
    except IndexError as error:
        raise ValueError(f"{name} is not a readable .tflite file") from error


def read_tflite_metadata(data: bytes, key: str) -> bytes | None:
    """Return the content of a metadata entry of a model that check_tflite accepted."""
    reader = _Reader(data, "")
    try:
        model = reader.root()
        buffers = list(reader.tables(model, _BUFFERS))
        for entry in reader.tables(model, _METADATA):
            if reader.vector(entry, 0, 1) == key.encode():
                return reader.vector(buffers[reader.number(entry, 1, 4)], 0, 1)
    except IndexError as error:
        raise ValueError("metadata that name a missing buffer") from error
    return None


class _Reader:
    """Reader that raises IndexError where an offset leaves the file."""

    def __init__(self, data: bytes, name: str) -> None:
        self._data, self._name = data, name
        self._left = _MOST_OBJECTS

    def scan(self) -> None:
        if self._data[4:8] != IDENTIFIER:
            raise IndexError("no identifier")
        model = self.root()
        self._check(model, "Model")
        kinds = [self._kind(code) for code in self.tables(model, 1)]
        buffers = list(self.tables(model, _BUFFERS))
        for graph in self.tables(model, 2):
            tensors = list(self.tables(graph, 0))
            for tensor in tensors:
                self._check_tensor(tensor, len(buffers))
            self._check_places(self._integers(graph, 1) + self._integers(graph, 2), tensors)
            for operator in self.tables(graph, 3):
                read = self._integers(operator, 1)
                self._check_places(read + self._integers(operator, 2), tensors)
                if (kind := self.number(operator, 0, 4)) >= len(kinds):
                    raise IndexError("an operation without a kind")
                self._check_factors(operator, kinds[kind] in _LAYERS, tensors)
                if kinds[kind] in _PADS:
                    self._check_padding(buffers[self.number(tensors[read[1]], 2, 4)])

    def _kind(self, code: _Table) -> int:
        number = max(self.number(code, 0, 1), self.number(code, 3, 4))
        if number in _REFUSED or number > _MOST_BUILTIN:
            raise self._refused(f"the operation {_REFUSED.get(number, number)}")
        return number

    def _check_places(self, places: list[int], tensors: list[_Table]) -> None:
        if any(not -1 <= place < len(tensors) for place in places):
            raise IndexError("an operation on a missing tensor")

    def _check_padding(self, buffer: _Table) -> None:
        if any(not 0 <= pad <= _MOST_PADDING for pad in self._integers(buffer, 0, 1)):
            raise self._refused("a padding of thousands of pixels")

    def _check_tensor(self, tensor: _Table, buffers: int) -> None:
        if self.number(tensor, 2, 4) >= buffers:
            raise IndexError("a tensor without a buffer")
        shape = self._integers(tensor, 0)
        if len(shape) > _MOST_SIDES:
            raise IndexError("a tensor of many dimensions")
        if (count := math.prod(max(side, 1) for side in shape)) > _MOST_VALUES:
            raise self._refused(f"a tensor of {count:,} values")
        for scales in self._part(tensor, 4):
            self._check_scales(scales, shape, self.number(tensor, 1, 1))

    def _check_scales(self, quantization: _Table, shape: list[int], kind: int) -> None:
        """Refuse scales that do not fit the tensor: LiteRT writes past the end of its tables."""
        scales = self._floats(quantization)
        data = self.vector(quantization, 3, 8)
        zeros = struct.unpack(f"<{len(data) // 8}q", data)
        axis = self.number(quantization, 6, 4)
        if len(scales) > 1 and (axis >= len(shape) or shape[axis] != len(scales)):
            raise IndexError("scales of other channels")
        if len(zeros) != len(scales):
            raise IndexError("zero points of other scales")
        low, high = (0, 255) if kind == _UINT8 else (-128, 127)
        if not all(low <= zero <= high for zero in zeros):
            raise IndexError("a zero point outside its type")
        if not all(0 <= scale <= _MOST_SCALE for scale in scales):
            raise IndexError("a scale that is not a usable number")

    def _check_factors(self, operator: _Table, is_layer: bool, tensors: list[_Table]) -> None:
        """Refuse scales that multiply integers beyond what XNNPACK takes."""
        outputs = self._integers(operator, 2)
        scales = [self._scales(tensors[i]) for i in self._integers(operator, 1) if i >= 0]
        made = self._scales(tensors[outputs[0]]) if outputs and outputs[0] >= 0 else ()
        if not made:
            return
        if is_layer and len(scales) > 1 and scales[0]:
            factors = [scales[0][0] * weight for weight in scales[1]]
        else:
            factors = [scale for each in scales for scale in each]
        if made[0] <= 0 or any(factor >= _MOST_FACTOR * made[0] for factor in factors):
            raise IndexError("scales too far apart")

    def _scales(self, tensor: _Table) -> tuple[float, ...]:
        for quantization in self._part(tensor, 4):
            return self._floats(quantization)
        return ()

    def _floats(self, quantization: _Table) -> tuple[float, ...]:
        data = self.vector(quantization, 2, 4)
        return struct.unpack(f"<{len(data) // 4}f", data)

    def _part(self, table: _Table, field: int) -> Iterator[_Table]:
        if field in table.fields:
            at = table.fields[field]
            yield self._table(at + self._read(at, 4))

    def _integers(self, table: _Table, field: int, size: int = 4) -> list[int]:
        """Return a vector of int32; ``size`` is that of the schema's element."""
        data = self.vector(table, field, size)
        return list(struct.unpack(f"<{len(data) // 4}i", data[: len(data) // 4 * 4]))

    def root(self) -> _Table:
        return self._table(self._read(0, 4))

    def tables(self, table: _Table, field: int) -> Iterator[_Table]:
        """Yield the tables of a vector."""
        if field not in table.fields:
            return
        start, count = self._bounds(table.fields[field], 4)
        for at in range(start, start + 4 * count, 4):
            yield self._table(at + self._read(at, 4))

    def vector(self, table: _Table, field: int, size: int) -> bytes:
        """Return the bytes of a vector of numbers."""
        if field not in table.fields:
            return b""
        start, count = self._bounds(table.fields[field], size)
        self._count(count * size // _BYTES_OF_AN_OBJECT)
        return self._data[start : start + count * size]

    def number(self, table: _Table, field: int, size: int) -> int:
        """Return a number of a table; 0 if it has none."""
        return self._read(table.fields[field], size) if field in table.fields else 0

    def _check(self, table: _Table, kind: str) -> None:
        for field, what in _FORBIDDEN.get(kind, {}).items():
            if field in table.fields and not self._empty(table, kind, field):
                raise self._refused(what)
        for field, inside in _FIELDS[kind].items():
            if field not in table.fields:
                continue
            at = table.fields[field]
            if isinstance(inside, int):
                self._bounds(at, inside)
            elif inside.startswith("*"):
                for each in self.tables(table, field):
                    self._check(each, inside[1:])
            else:
                self._check(self._table(at + self._read(at, 4)), self._options(table, inside))

    def _options(self, operator: _Table, kind: str) -> str:
        if kind == "Options" and self.number(operator, 3, 1) in (
            _RESHAPE_OPTIONS,
            _SQUEEZE_OPTIONS,
        ):
            return "ListOptions"
        return kind

    def _empty(self, table: _Table, kind: str, field: int) -> bool:
        """Report whether a forbidden field has its default: no number, or an empty vector."""
        at = table.fields[field]
        value = self._read(at, 1 if (kind, field) == ("Operator", 11) else 4)
        is_vector = (kind, field) in {("Model", 8), ("Model", 9), ("Operator", 5), ("Tensor", 9)}
        return value == 0 or (is_vector and self._bounds(at, 1)[1] == 0)

    def _table(self, at: int) -> _Table:
        self._count()
        vtable = at - self._signed(at)
        size, inline = self._read(vtable, 2), self._read(vtable + 2, 2)
        self._count(size // _BYTES_OF_AN_OBJECT)
        if size < 4 or size % 2 or inline < 4 or vtable + size > len(self._data):
            raise IndexError("a table without a layout")
        if at + inline > len(self._data):
            raise IndexError("a table past the end")
        offsets = (self._read(vtable + 4 + 2 * i, 2) for i in range((size - 4) // 2))
        fields = {i: at + offset for i, offset in enumerate(offsets) if offset}
        if any(place + 1 > at + inline for place in fields.values()):
            raise IndexError("a field outside its table")
        return _Table(fields)

    def _bounds(self, field: int, size: int) -> tuple[int, int]:
        """Return the first byte and the length of a vector."""
        self._count()
        at = field + self._read(field, 4)
        count = self._read(at, 4)
        if at + 4 + count * size > len(self._data):
            raise IndexError("a vector past the end")
        return at + 4, count

    def _count(self, objects: int = 1) -> None:
        """Bound the work. A table or vector may be named many times, and is read each time."""
        self._left -= objects
        if self._left < 0:
            raise IndexError("more objects than any converted network has")

    def _read(self, at: int, size: int) -> int:
        if at < 0 or at + size > len(self._data):
            raise IndexError("past the end")
        return int.from_bytes(self._data[at : at + size], "little")

    def _signed(self, at: int) -> int:
        value = self._read(at, 4)
        return value - (1 << 32) if value >= 1 << 31 else value

    def _refused(self, what: str) -> BundleError:
        return BundleError(
            f"{self._name} holds {what}, which a bundle must not. Convert the checkpoint again "
            "with fer-edge convert"
        )
