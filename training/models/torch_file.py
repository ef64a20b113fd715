"""Reader of torch files (``torch.save``) that runs nothing of them.

A torch file is a zip archive with a pickle, ``data.pkl``, and a record of raw values for each
storage. Files of torch before 1.6 hold the same parts one after the other. A record is read once,
and tensors are views of it that must lie within it, so a file cannot ask for more memory than its
records have bytes.
"""

from __future__ import annotations

import functools
import io
import math
import struct
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fer_edge.errors import CheckpointError
from fer_edge.training.models.pickle_values import Call, Name, Reference, Values, read_pickle

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_MOST_DIMENSIONS = 16
_MOST_UNPACKED = 4
"""Largest size of all records as a multiple of the file; torch stores them uncompressed."""
_DTYPES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
_OF_A_TYPE = "torch._tensor._rebuild_from_type_v2"
"""Call that describes a tensor with attributes: a function, the class, the function's arguments."""
_TENSOR_CLASSES = ("torch.Tensor", "torch._tensor.Tensor", "torch.nn.parameter.Parameter")
_REBUILDERS = {"torch._utils._rebuild_tensor": 4, "torch._utils._rebuild_tensor_v2": 4}
_PARAMETERS = (
    "torch._utils._rebuild_parameter",
    "torch._utils._rebuild_parameter_with_state",
    "torch.nn.parameter.Parameter",
)


@dataclass(frozen=True)
class StoredTensor:
    """A tensor in a file, by its place.

    Attributes:
        read: Returns the bytes of its storage, the same object at each call.
        dtype: Type of its values.
        offset: First value in the storage.
        shape: Size of each dimension.
        strides: Steps in the storage, in values.
    """

    read: Callable[[], bytearray]
    dtype: torch.dtype
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def load(self) -> Tensor:
        """Return a view of the storage. Raises CheckpointError if it goes beyond the storage."""
        data = self.read()
        count, values = math.prod(self.shape), len(data) // self.dtype.itemsize
        last = self.offset + sum((n - 1) * s for n, s in zip(self.shape, self.strides, strict=True))
        if count > values or (count and last >= values):
            raise CheckpointError(
                f"a tensor of {' x '.join(map(str, self.shape)) or '1'} values needs more than "
                f"the {len(data):,} bytes that the file stores for it"
            )
        if not count:
            return torch.empty(self.shape, dtype=self.dtype)
        flat = torch.frombuffer(data, dtype=self.dtype, count=values)
        return flat.as_strided(self.shape, self.strides, self.offset)


def read_torch_file(data: bytes) -> tuple[Any, Callable[[Any], StoredTensor | None], list[Name]]:
    """Read the values of a torch file.

    Args:
        data: Content of the file.

    Returns:
        The value that was saved; a function that returns the tensor which a value stands for, or
        None; and the classes and functions that the file names.

    Raises:
        CheckpointError: The file is not a torch file, or damaged.
    """
    if zipfile.is_zipfile(io.BytesIO(data)):
        values, record = _of_zip(data)
    else:
        values, record = _of_legacy(data)
    storages = functools.cache(lambda key: bytearray(record(key)))
    return values.top, lambda value: _stored(value, storages), values.names


def _of_zip(data: bytes) -> tuple[Values, Callable[[str], bytes]]:
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
    except Exception as error:  # zipfile raises many kinds for damaged archives
        raise CheckpointError(f"its zip archive is damaged: {error}") from error
    sizes = {info.filename: info.file_size for info in archive.infolist()}
    if sum(sizes.values()) > _MOST_UNPACKED * len(data) or len(sizes) < len(archive.infolist()):
        raise CheckpointError("its zip archive unpacks to far more than it holds")
    pickles = [name for name in sizes if name.count("/") <= 1 and name.endswith("data.pkl")]
    if any("/code/" in name for name in sizes):
        raise CheckpointError(
            "it is a TorchScript program, not tensors. Save model.state_dict() in its own project"
        )
    if len(pickles) != 1:
        raise CheckpointError(
            "it is a zip archive without torch's data.pkl. Unpack it, and pass the file inside"
        )
    root = pickles[0].removesuffix("data.pkl")

    def record(name: str) -> bytes:
        try:
            return archive.read(f"{root}{name}")
        except Exception as error:  # zipfile and what it decompresses with raise many kinds
            raise CheckpointError(f"its record {name[:40]} is damaged or missing") from error

    if f"{root}byteorder" in sizes and record("byteorder") != b"little":
        raise CheckpointError("its values are big-endian. Save it on a little-endian machine")
    return read_pickle(io.BytesIO(record("data.pkl"))), lambda key: record(f"data/{key}")


def _of_legacy(data: bytes) -> tuple[Values, Callable[[str], bytes]]:
    file = io.BytesIO(data)
    if read_pickle(file).top != _LEGACY_MAGIC:
        raise CheckpointError("it is not a torch file")
    read_pickle(file)  # version of the format
    machine = read_pickle(file).top
    if not isinstance(machine, dict) or machine.get("little_endian") is not True:
        raise CheckpointError("its values are big-endian. Save it on a little-endian machine")
    values = read_pickle(file)
    keys = read_pickle(file).top
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise CheckpointError("its list of storages is damaged")
    at = file.tell()
    sizes = _legacy_sizes(values)
    places: dict[str, tuple[int, int]] = {}
    for key in keys:
        if key not in sizes:
            break
        try:
            (count,) = struct.unpack_from("<q", data, at)
        except struct.error as error:
            raise CheckpointError("it is cut off") from error
        size = count * sizes[key]
        if count < 0 or at + 8 + size > len(data):
            raise CheckpointError("it is cut off")
        places[key] = (at + 8, at + 8 + size)
        at += 8 + size

    def record(key: str) -> bytes:
        if key not in places:
            raise CheckpointError(f"its record {key[:40]} is missing")
        start, end = places[key]
        return data[start:end]

    return values, record


def _legacy_sizes(values: Values) -> dict[str, int]:
    """Return the bytes of a value of each storage, by its key."""
    found = (storage_of(reference) for reference in values.references)
    return {key: dtype.itemsize for key, dtype in (pair for pair in found if pair)}


def storage_of(reference: Any) -> tuple[str, torch.dtype] | None:
    """Return key and type of a storage, from torch's id: (storage, type, key, place, count)."""
    value = reference.value if isinstance(reference, Reference) else None
    if not isinstance(value, tuple) or len(value) < 5 or value[0] != "storage":
        return None
    kind, key = value[1], value[2]
    name = kind.path.rpartition(".")[2] if isinstance(kind, Name) else ""
    dtype = torch.uint8 if name == "UntypedStorage" else _DTYPES.get(name)
    return (key, dtype) if isinstance(key, str) and dtype is not None else None


def _stored(value: Any, storages: Callable[[str], bytearray]) -> StoredTensor | None:
    """Return the tensor that a value describes; None for any other value."""
    value = _inner(value)
    if not isinstance(value, Call) or len(value.arguments) < _REBUILDERS.get(value.path, 1 << 30):
        return None
    reference, offset, shape, strides = value.arguments[:4]
    storage = storage_of(reference)
    shape = shape.arguments[0] if isinstance(shape, Call) and shape.arguments else shape
    if storage is None or not _whole((offset,)) or not _whole(shape) or not _whole(strides):
        return None
    if len(shape) != len(strides):
        return None
    key, dtype = storage
    return StoredTensor(lambda: storages(key), dtype, offset, tuple(shape), tuple(strides))


def _inner(value: Any) -> Any:
    """Return the tensor that a parameter, or a tensor with attributes, holds."""
    for _ in range(4):
        if not isinstance(value, Call) or not value.arguments:
            return value
        if value.path == _OF_A_TYPE and len(value.arguments) >= 3:
            of, kind, arguments = value.arguments[:3]
            if not isinstance(kind, Name) or kind.path not in _TENSOR_CLASSES:
                return value
            value = Call(of, arguments if isinstance(arguments, tuple) else ())
        elif value.path in _PARAMETERS:
            value = value.arguments[0]
        else:
            return value
    return value


def is_tensor(value: Any) -> bool:
    """Return whether a value describes a tensor, of any kind that torch stores."""
    inner = _inner(value)
    return isinstance(inner, Call) and inner.path.startswith(("torch._utils._rebuild_", _OF_A_TYPE))


def _whole(values: Any) -> bool:
    return (
        isinstance(values, tuple)
        and len(values) <= _MOST_DIMENSIONS
        and all(type(n) is int and 0 <= n < 1 << 62 for n in values)
    )
