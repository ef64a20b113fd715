"""Heaps of an HDF5 file, which hold the cells of variable length.

The library walks a heap from object to object by their sizes: where a size is 0, it never ends. See
"Global Heap" in https://support.hdfgroup.org/documentation/hdf5/latest/_f_m_t3.html.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import BinaryIO

from fer_edge.errors import DataError

_HEAD = struct.Struct("<4sB3xQ")
"""Signature, version, size of the heap."""
_OBJECT = struct.Struct("<HH4xQ")
"""Index, number of references, size of the object."""
_FREE_SPACE = 0
_MOST_READ = 2
"""Largest sum of the heaps' sizes as a multiple of the file's size."""


def check_heaps(file: BinaryIO, addresses: Sequence[int], size: int, where: object) -> None:
    """Raise DataError if the library could not walk these heaps to their ends.

    Args:
        file: The HDF5 file.
        addresses: Offsets of the heaps in the file.
        size: Size of the file in bytes.
        where: Name of the data set, for messages.
    """
    total = 0
    for address in addresses:
        try:
            if address > size:
                raise ValueError("it lies outside the file")
            file.seek(address)
            mark, version, length = _HEAD.unpack(file.read(_HEAD.size))
            if mark != b"GCOL" or version != 1 or length > size - address:
                raise ValueError("its head is damaged")
            total += length
            if total > _MOST_READ * size:
                raise ValueError("it overlaps others")
            _walk(file.read(length - _HEAD.size))
        except (ValueError, struct.error) as error:
            raise DataError(
                f"cannot read {where}: the heap at byte {address} is damaged ({error}). Copy or "
                "write the file again"
            ) from error


def _walk(objects: bytes) -> None:
    """Raise ValueError unless the objects follow each other to the end."""
    at, end = 0, len(objects)
    while at + _OBJECT.size <= end:
        index, _, size = _OBJECT.unpack_from(objects, at)
        # The size of free space includes its head; other objects are padded to 8 bytes.
        step = size if index == _FREE_SPACE else _OBJECT.size + (size + 7) // 8 * 8
        if step < _OBJECT.size or step > end - at:
            raise ValueError("an object has an impossible size")
        at += step
