"""Checks of an HDF5 dataset before the library allocates what it promises.

The library believes what a file states: one changed byte in the length of a variable-length cell
takes 2 GB, and a chunk of gzip unpacks to any size. Lengths and chunks are read raw first; see
https://support.hdfgroup.org/documentation/hdf5/latest/_f_m_t3.html (variable-length data).
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from fer_edge.errors import DataError
from fer_edge.images.containers import MAX_PIXELS
from fer_edge.training.data.bounds import check_memory, check_rows
from fer_edge.training.data.readers.hdf5_heaps import check_heaps

_GZIP, _SHUFFLE, _FLETCHER32, _LZF = 1, 2, 3, 32000
_COMPRESSIONS = {_GZIP, _LZF}
_VARIABLE = 9
"""Class of a type of variable length."""
_MOST_DEFLATE = 1032
"""Largest ratio that deflate can compress by (zlib's technical notes)."""
_MOST_CHUNK_BYTES = 32 << 20
"""Largest size that an unchecked chunk may unpack to."""
_REFERENCE = np.dtype([("length", "<u4"), ("address", "<u8"), ("index", "<u4")])
"""Stored form of a variable-length cell: its bytes are elsewhere in the file."""


def check_dataset(dataset: Any, rows: int, path: Path) -> None:
    """Raise DataError unless a dataset has every row in bounded memory.

    Args:
        dataset: ``h5py.Dataset``, stored in this file.
        rows: Number of pictures.
        path: Path of the file.
    """
    import h5py

    where = f"{path}:{dataset.name}"
    size = path.stat().st_size
    if not dataset.shape or dataset.shape[0] != rows:
        raise DataError(f"expected {rows:,} rows in {where}, got the shape {dataset.shape}")
    check_rows(rows, size, where)
    if rows and dataset.id.get_storage_size() == 0:
        raise DataError(f"{where} was never written: it promises {rows:,} rows, and holds none")
    if math.prod(dataset.shape[1:]) > 3 * MAX_PIXELS:
        raise DataError(f"expected at most {MAX_PIXELS:,} pixels a picture in {where}")
    check_memory(math.prod(dataset.shape) * dataset.dtype.itemsize, size, where)
    filters = _filters(dataset, where)
    if dataset.chunks:
        _check_chunks(dataset, filters, size, where)
    variable = h5py.check_vlen_dtype(dataset.dtype) is not None
    text = h5py.check_string_dtype(dataset.dtype)
    if variable or (text is not None and text.length is None):
        if dataset.file.id.get_create_plist().get_sizes() != (8, 8):
            raise DataError(f"{path} has addresses of another size than 8 bytes. Write it again")
        _check_type(dataset, text is None, where)
        _check_cells(dataset, filters, path, where)
    elif text is None and dataset.dtype.kind not in "iufb":
        raise DataError(f"expected numbers or texts in {where}, got {str(dataset.dtype)[:80]}")


def _filters(dataset: Any, where: str) -> list[int]:
    properties = dataset.id.get_create_plist()
    filters = [properties.get_filter(i)[0] for i in range(properties.get_nfilters())]
    compressions = [code for code in filters if code in _COMPRESSIONS]
    if len(compressions) > 1 or not {*filters} <= {*_COMPRESSIONS, _SHUFFLE, _FLETCHER32}:
        raise DataError(
            f"{where} is compressed in another way than gzip or lzf. Write it again with one of "
            "them"
        )
    return filters


def _check_chunks(dataset: Any, filters: list[int], size: int, where: str) -> None:
    """Raise DataError if a chunk unpacks to more than its shape needs."""
    import h5py

    item = 16 if _is_variable(dataset, h5py) else dataset.dtype.itemsize
    needed = math.prod(dataset.chunks) * item
    check_memory(needed, size, where)
    for i in range(dataset.id.get_num_chunks()):
        info = dataset.id.get_chunk_info(i)
        if info.size > size:
            raise DataError(f"cannot read {where}: a chunk is larger than the file")
        if _GZIP in filters and info.size * _MOST_DEFLATE > _MOST_CHUNK_BYTES:
            _, data = dataset.id.read_direct_chunk(info.chunk_offset)
            if len(zlib.decompressobj().decompress(data, needed + 1)) > needed:
                raise DataError(f"{where} has a chunk that unpacks to more than its shape")


def _is_variable(dataset: Any, h5py: Any) -> bool:
    text = h5py.check_string_dtype(dataset.dtype)
    return h5py.check_vlen_dtype(dataset.dtype) is not None or (
        text is not None and text.length is None
    )


def _check_type(dataset: Any, sequence: bool, where: str) -> None:
    """Raise DataError for a variable-length type that is neither a sequence nor a text.

    The library does not check it, and reads foreign memory.
    """
    encoded = dataset.id.get_type().encode()  # two bytes, then the type as stored
    kind, padding, characters = encoded[3] & 15, encoded[3] >> 4, encoded[4]
    if encoded[2] & 15 != _VARIABLE or kind != (0 if sequence else 1) or padding > 2:
        raise DataError(f"cannot read {where}: its type is damaged. Write the file again")
    if characters > 1:
        raise DataError(f"cannot read {where}: its characters are neither ASCII nor UTF-8")


def _check_cells(dataset: Any, filters: list[int], path: Path, where: str) -> None:
    """Raise DataError if the cells of a variable-length dataset cannot be in the file."""
    size = path.stat().st_size
    total = 0
    heaps: set[int] = set()
    for raw in _raw(dataset, filters, path, where):
        cells = np.frombuffer(raw[: len(raw) // 16 * 16], _REFERENCE)
        cells = cells[cells["length"] > 0]
        if len(cells) and int(cells["length"].max()) > size:
            raise DataError(f"cannot read {where}: a cell is longer than the file")
        total += int(cells["length"].sum(dtype=np.int64))
        check_memory(total, size, where)
        heaps.update(cells["address"].tolist())
    base = dataset.file.userblock_size
    with path.open("rb") as file:
        check_heaps(file, sorted(base + address for address in heaps), size, where)


def _raw(dataset: Any, filters: list[int], path: Path, where: str) -> Iterator[bytes]:
    """Yield the stored references of a variable-length dataset."""
    if not dataset.chunks:
        offset = dataset.id.get_offset()
        if offset is None:
            raise DataError(f"{where} is stored in a header. Write it again with h5py's defaults")
        with path.open("rb") as file:
            file.seek(offset)
            yield file.read(16 * math.prod(dataset.shape))
        return
    needed = math.prod(dataset.chunks) * 16
    for i in range(dataset.id.get_num_chunks()):
        mask, data = dataset.id.read_direct_chunk(dataset.id.get_chunk_info(i).chunk_offset)
        for at, code in reversed(list(enumerate(filters))):
            if mask >> at & 1:
                continue
            if code == _FLETCHER32:
                data = data[:-4]
            elif code == _SHUFFLE:
                data = np.frombuffer(data, np.uint8).reshape(16, -1).T.tobytes()
            elif code == _GZIP:
                data = zlib.decompressobj().decompress(data, needed)
            else:
                raise DataError(f"{where} has texts compressed with lzf. Use gzip, or none")
        yield data
