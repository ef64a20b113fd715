"""Reader of HDF5 files: the layout of ``fer-edge data pack``, and two layouts of FER2013."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from fer_edge.errors import DataError, MissingDependencyError
from fer_edge.labels import label_of_number
from fer_edge.training.data.dataset_spec import SPLIT_NAMES, DatasetSpec, StoredFace, check_part
from fer_edge.training.data.lazy_rows import LazyRow, Stored
from fer_edge.training.data.readers.tables import from_columns

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
    path = source.file.resolve()
    try:
        with _open(str(path)) as file:
            parts = _parts(file, path)
            if split is not None:
                check_part(source, split, parts)
            requested = list(parts) if split is None else [split if split in parts else ""]
            for part in requested:
                yield from _rows(file, path, parts[part], source)
    except (OSError, KeyError, RuntimeError, TypeError) as error:
        raise DataError(f"cannot read {path}: {error}") from error


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

    for key in keys.values():
        _check_stored_in_file(file, key, path)
    pictures = file[keys["image"]]
    colour = source.colour or str(pictures.attrs.get("colour", ""))
    shape, encoded = pictures.shape, h5py.check_vlen_dtype(pictures.dtype) is not None
    flat = len(shape) == 2 and round(shape[1] ** 0.5) ** 2 == shape[1]
    grey = len(shape) == 3 or (len(shape) == 4 and shape[3] == 1)
    if not encoded and (
        pictures.dtype != np.uint8 or not (flat or grey or (len(shape) == 4 and shape[3] == 3))
    ):
        raise DataError(
            f"expected encoded pictures, or pixels uint8 [N, H, W] or [N, H, W, 3], in "
            f"{path}:{pictures.name}, got {pictures.dtype} {list(shape)}"
        )
    if not encoded and not flat and not grey and colour not in ("rgb", "bgr"):
        raise DataError(
            f"{path}:{pictures.name} has three channels in an unknown order. Set it with "
            f"{source.path}@colour=rgb (or bgr)"
        )
    columns = {name: file[key][:].tolist() for name, key in keys.items() if name != "image"}
    where = f"{path}:{Path(pictures.name).parent}" if "/" in keys["image"] else str(path)
    images = [
        LazyRow(open_pictures, (str(path), pictures.name, colour), i) for i in range(len(pictures))
    ]
    fer2013 = keys.get("label", "").endswith("_label") and keys["label"] != "data_label"
    for face in from_columns(images, columns, where):
        if fer2013 and isinstance(face.label, int):
            face = replace(face, label=label_of_number(face.label, "fer2013-csv"))
        yield face


def _parts(file: Any, path: Path) -> dict[str, dict[str, str]]:
    """Return the key of each column by part; "" if the file has no parts."""
    import h5py

    if "data_pixel" in file:
        return {"": {"image": "data_pixel", "label": "data_label"}}
    parts: dict[str, dict[str, str]] = {}
    for key in file:
        if key.endswith("_pixel") and key.removesuffix("_pixel").lower() in SPLIT_NAMES:
            name = key.removesuffix("_pixel")
            parts[SPLIT_NAMES[name.lower()]] = {"image": key, "label": f"{name}_label"}
        elif key.lower() in SPLIT_NAMES and file.get(key, getclass=True) is h5py.Group:
            columns = {name: f"{key}/{name}" for name in file[key]}
            if "image" in columns:
                parts[SPLIT_NAMES[key.lower()]] = columns
    if "image" in file:
        parts[""] = {name: name for name in file if isinstance(file[name], h5py.Dataset)}
    if not parts or ("" in parts and len(parts) > 1):
        raise DataError(
            f"expected groups train, val, test with datasets image and label in {path}, found "
            f"{', '.join(file) or 'nothing'}"
        )
    return parts


def _check_stored_in_file(file: Any, key: str, path: Path) -> None:
    """Raise DataError if a dataset's bytes would come from another file."""
    import h5py

    node = file
    for name in key.split("/"):
        if not isinstance(node.get(name, getlink=True), h5py.HardLink):
            raise DataError(f"{path} links {key} elsewhere: copy the data into one file")
        node = node[name]
    if node.is_virtual or node.external:
        raise DataError(f"{path} stores {key} in another file: copy the data into one file")


def _open(path: str) -> Any:
    try:
        import h5py
    except ImportError as error:
        raise MissingDependencyError("h5py", "train") from error
    return h5py.File(path, "r", locking=False)
