"""Reader of HDF5 files in three layouts.

They are that of ``fer-edge data pack`` and two of FER2013.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from fer_edge.errors import DataError, FerEdgeError
from fer_edge.labels import label_of_number
from fer_edge.libraries import needed
from fer_edge.training.data.csv_text import found
from fer_edge.training.data.dataset_spec import SPLIT_NAMES, DatasetSpec, StoredFace, check_part
from fer_edge.training.data.lazy_rows import LazyRow, Stored
from fer_edge.training.data.readers.hdf5_bounds import check_dataset
from fer_edge.training.data.readers.tables import from_columns, used_columns
from fer_edge.training.data.trial import try_file

_ROWS_AT_ONCE = 16
"""Pictures that a trial reads at once."""
_SUFFIXES = {".h5", ".hdf5", ".hdf"}


def fits(path: Path) -> bool:
    return path.suffix.lower() in _SUFFIXES


def read(source: DatasetSpec, split: str | None) -> Iterator[StoredFace]:
    """Read an HDF5 file in one of three layouts.

    - Groups ``train``, ``val`` and ``test``, or the top level, with the columns of a table as
      datasets: ``label`` and others as in parquet, and ``image`` with encoded pictures
      (variable-length uint8) or pixels (uint8 ``[N, H, W]`` or ``[N, H, W, 3]``; three channels
      need the ``colour`` option).
    - ``Training_pixel`` and ``Training_label`` (``PublicTest_…``, ``PrivateTest_…``), as
      https://github.com/WuJie1010/Facial-Expression-Recognition.Pytorch packs FER2013, with
      Kaggle's numbers.
    - ``data_pixel`` and ``data_label``; the numbers need an order.
    """
    path = source.file
    if not path.is_file():  # opening a FIFO would wait forever
        raise DataError(f"expected an HDF5 file at {path}, found none")
    _import_h5py()
    try_file(read_all, source, split)
    yield from _read(path, source, split, all_rows=False)


def read_all(source: DatasetSpec, split: str | None) -> None:
    """Read all that ``read`` and its pictures read. For a child process, see ``trial``."""
    for _ in _read(source.file, source, split, all_rows=True):
        pass


def _read(
    path: Path, source: DatasetSpec, split: str | None, *, all_rows: bool
) -> Iterator[StoredFace]:
    try:
        with _open(str(path)) as file:
            parts = _parts(file, path)
            if split is not None:
                check_part(source, split, parts)
            requested = list(parts) if split is None else [split if split in parts else ""]
            for part in requested:
                yield from _rows(file, path, parts[part], source)
                if all_rows:
                    _touch(file[parts[part]["image"]])
    except (FerEdgeError, MemoryError):
        raise
    except Exception as error:  # a damaged file can make h5py raise anything
        raise DataError(f"cannot read {path}: {error}") from error


def _touch(pictures: Any) -> None:
    for start in range(0, len(pictures), _ROWS_AT_ONCE):
        pictures[start : start + _ROWS_AT_ONCE]


def open_pictures(path: str, dataset: str, colour: str) -> Any:
    """Open the pictures of a file; LazyRow pickles this function by name."""
    return _Pictures(path, dataset, colour)


class _Pictures:
    """Pictures of one HDF5 dataset, by row."""

    def __init__(self, path: str, dataset: str, colour: str) -> None:
        import h5py

        self.file = _open(path)
        self.rows = self.file[dataset]
        self.encoded = h5py.check_vlen_dtype(self.rows.dtype) is not None
        self.rgb = colour == "rgb"

    def __getitem__(self, index: int) -> Stored:
        row = np.asarray(self.rows[index])
        if self.encoded:
            return row.tobytes()
        if row.ndim == 1:
            side = round(row.size**0.5)
            return row.reshape(side, side)
        return np.ascontiguousarray(row[..., ::-1]) if self.rgb and row.ndim == 3 else row


def _rows(file: Any, path: Path, keys: dict[str, str], source: DatasetSpec) -> Iterator[StoredFace]:
    import h5py

    used = {"image": keys["image"]} | {
        name: keys[name]
        for name in used_columns(list(keys), f"{path}:{keys['image']}", source.columns)
    }
    for key in used.values():
        _check_stored_in_file(file, key, path)
    pictures = file[keys["image"]]
    rows = pictures.shape[0] if pictures.shape else 0
    for name, key in used.items():
        check_dataset(file[key], rows, path)
        if name != "image" and len(file[key].shape) != 1:
            raise DataError(f"expected one cell for each picture in {path}:{key}")
    shape, encoded = pictures.shape, h5py.check_vlen_dtype(pictures.dtype) is not None
    if encoded and h5py.check_vlen_dtype(pictures.dtype) != np.uint8:
        raise DataError(f"expected encoded pictures as uint8 in {path}:{pictures.name}")
    flat = len(shape) == 2 and round(shape[1] ** 0.5) ** 2 == shape[1]
    grey = len(shape) == 3 or (len(shape) == 4 and shape[3] == 1)
    if not encoded and (
        pictures.dtype != np.uint8 or not (flat or grey or (len(shape) == 4 and shape[3] == 3))
    ):
        raise DataError(
            f"expected encoded pictures, or pixels uint8 [N, H, W] or [N, H, W, 3], in "
            f"{path}:{pictures.name}, got {pictures.dtype} {list(shape)}"
        )
    colour: str = source.colour or ""
    if not encoded and not flat and not grey:
        colour = colour or _stated_colour(pictures)
    if not encoded and not flat and not grey and colour not in ("rgb", "bgr"):
        raise DataError(
            f"{path}:{pictures.name} has three channels in an unknown order. Set it with "
            f"{source.path}@colour=rgb (or bgr)"
        )
    columns = {name: file[key][:].tolist() for name, key in used.items() if name != "image"}
    where = f"{path}:{Path(pictures.name).parent}" if "/" in keys["image"] else str(path)
    at = (str(path.resolve()), pictures.name, colour)
    images = [LazyRow(open_pictures, at, i) for i in range(len(pictures))]
    fer2013 = keys.get("label", "").endswith("_label") and keys["label"] != "data_label"
    for face in from_columns(images, columns, where, source):
        if fer2013 and isinstance(face.label, int):
            face = replace(face, label=label_of_number(face.label, "fer2013-csv"))
        yield face


def _stated_colour(pictures: Any) -> str:
    """Return the attribute ``colour`` if it is a short text of fixed length, else "".

    The library believes the length of a variable one, and it cannot be checked before.
    """
    if "colour" not in pictures.attrs:
        return ""
    kind = pictures.attrs.get_id("colour")
    if kind.shape != () or kind.dtype.kind != "S" or kind.dtype.itemsize > 16:
        return ""
    return bytes(pictures.attrs["colour"]).decode("ascii", "replace")


def _parts(file: Any, path: Path) -> dict[str, dict[str, str]]:
    """Return the key of each column by part; "" if the file has no parts."""
    import h5py

    names = list(file)
    if "data_pixel" in names:
        return {"": {"image": "data_pixel", "label": "data_label"}}
    parts: dict[str, dict[str, str]] = {}
    for key in names:
        if key.endswith("_pixel") and key.removesuffix("_pixel").lower() in SPLIT_NAMES:
            name = key.removesuffix("_pixel")
            parts[SPLIT_NAMES[name.lower()]] = {"image": key, "label": f"{name}_label"}
        elif key.lower() in SPLIT_NAMES:
            _check_linked_in_file(file, key, path)
            if isinstance(file[key], h5py.Group):
                columns = {name: f"{key}/{name}" for name in file[key]}
                if "image" in columns:
                    parts[SPLIT_NAMES[key.lower()]] = columns
    if "image" in names:
        parts[""] = {name: name for name in names}
    if not parts or ("" in parts and len(parts) > 1):
        raise DataError(
            f"expected groups train, val, test with datasets image and label in {path}, found "
            f"{found(names)}"
        )
    return parts


def _check_linked_in_file(node: Any, name: str, path: Path) -> None:
    """Raise DataError for a missing name or a link. A link can lead to another file."""
    import h5py

    link = node.get(name, getlink=True)
    if link is None:
        raise DataError(f"expected a dataset {name} in {path}, found {found(node)}")
    if not isinstance(link, h5py.HardLink):
        raise DataError(f"{path} links {name} elsewhere: copy the data into one file")


def _check_stored_in_file(file: Any, key: str, path: Path) -> None:
    """Raise DataError if a dataset's bytes would come from another file."""
    import h5py

    node = file
    for name in key.split("/"):
        _check_linked_in_file(node, name, path)
        node = node[name]
    if not isinstance(node, h5py.Dataset):
        raise DataError(f"expected a dataset {key} in {path}, got a group")
    if node.is_virtual or node.external:
        raise DataError(f"{path} stores {key} in another file: copy the data into one file")


def _import_h5py() -> Any:
    """Import h5py. Raises MissingDependencyError."""
    with needed("h5py", "train"):
        import h5py
    return h5py


def _open(path: str) -> Any:
    return _import_h5py().File(path, "r", locking=False)
