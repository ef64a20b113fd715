"""Readers of tables with a row per picture: parquet, and Hugging Face's ``datasets``.

Columns: ``image`` (a struct of ``bytes`` and ``path``, the layout of ``datasets``) and ``label``
(names; numbers need a ClassLabel in the file, or an order). Optional columns: ``name``,
``subject``, ``clip``, and FER+'s votes as ``ferplus_*``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from fer_edge.errors import DataError, MissingDependencyError
from fer_edge.training.data.dataset_spec import (
    HUB,
    SPLIT_NAMES,
    DatasetSpec,
    StoredFace,
    as_label,
    check_part,
    part_of,
)
from fer_edge.training.data.ferplus import vote_columns
from fer_edge.training.data.lazy_rows import LazyRow

IN_MEMORY_BYTES = 256 << 20
"""Largest size in bytes of a parquet file's pictures to keep in memory (FER2013: 46 MB)."""
_LABELS = ("fer2013_label", "label", "labels", "emotion", "expression")
_MORE = ("name", "subject", "clip")


def from_columns(
    pictures: Sequence[Any],
    columns: Mapping[str, Sequence[Any]],
    where: object,
    class_names: Sequence[str] | None = None,
) -> Iterator[StoredFace]:
    """Yield the rows of a table as faces.

    Args:
        pictures: Picture of each row.
        columns: Cells of each column.
        where: Name of the table, for messages.
        class_names: Meaning of numeric labels if the file states it.

    Raises:
        DataError: The table has no label column, or a label is out of range.
        LabelError: A label is neither a name nor a number.
    """
    label_column = next((name for name in _LABELS if name in columns), None)
    if label_column is None:
        raise DataError(
            f"expected columns image and label (or {', '.join(_LABELS[0::2])}) in {where}, "
            f"found {', '.join(sorted(columns))}"
        )
    voted = [name for name in columns if name.startswith("ferplus_")]
    order = vote_columns(voted, where) if voted else []
    for i, (picture, cell) in enumerate(zip(pictures, columns[label_column], strict=True)):
        label = as_label(cell, f"{where}, row {i}")
        if isinstance(label, int) and class_names is not None:
            if not 0 <= label < len(class_names):
                raise DataError(f"{where}, row {i}: label {label} is not one of {class_names}")
            label = class_names[label]
        name, subject, clip = (_text(columns[key][i]) if key in columns else "" for key in _MORE)
        votes = [-1 if columns[key][i] is None else int(columns[key][i]) for key in order]
        yield StoredFace(
            picture,
            label,
            name or f"{where}:{i}",
            # -1 stands for a missing vote: HDF5 has no empty cells.
            tuple(votes) if votes and min(votes) >= 0 else None,
            subject or None,
            clip or None,
        )


def _text(cell: Any) -> str:
    if isinstance(cell, bytes):
        return cell.decode("utf-8", "replace")
    return "" if cell is None else str(cell)


# --- parquet -------------------------------------------------------------------------------------


def fits_parquet(path: Path) -> bool:
    return path.suffix == ".parquet" or (path.is_dir() and any(path.glob("*.parquet")))


def read_parquet(source: DatasetSpec, split: str | None) -> Iterator[StoredFace]:
    """Read one file, or a folder of shards.

    The name of a file tells its part; a file without one is train.
    """
    if source.file.is_dir():
        check_part(source, split, ())
        for shard in sorted(source.file.glob("*.parquet")):
            yield from _parquet(shard)
        return
    if split not in (None, part_of(source.file) or "train"):
        check_part(source, split, {part_of(source.file) or "train"})
    yield from _parquet(source.file)


def _parquet(path: Path) -> Iterator[StoredFace]:
    import pyarrow
    import pyarrow.parquet

    try:
        file = pyarrow.parquet.ParquetFile(path)
        names = set(file.schema_arrow.names)
        if "image" not in names:
            raise DataError(
                f"expected columns image and label in {path}, found {', '.join(sorted(names))}"
            )
        size = sum(
            column.total_uncompressed_size
            for group in map(file.metadata.row_group, range(file.num_row_groups))
            for column in map(group.column, range(group.num_columns))
            if column.path_in_schema.startswith("image")
        )
        table = file.read(columns=sorted(names - {"image"}))
        if size > IN_MEMORY_BYTES:
            at = (str(path.resolve()),)
            images: Sequence[Any] = [LazyRow(open_parquet, at, i) for i in range(table.num_rows)]
        else:
            images = [
                _bytes(cell, f"{path}, row {i}")
                for i, cell in enumerate(file.read(columns=["image"])["image"].to_pylist())
            ]
    except (OSError, pyarrow.ArrowException) as error:
        raise DataError(f"cannot read {path}: {error}") from error
    columns = {name: table[name].to_pylist() for name in table.column_names}
    yield from from_columns(images, columns, path, _class_names(file.schema_arrow.metadata))


def _bytes(cell: Any, where: str) -> bytes:
    if not isinstance(cell, dict) or not isinstance(cell.get("bytes"), bytes):
        raise DataError(
            f"expected the column image to hold the encoded picture as bytes, in a struct of bytes "
            f"and path; {where} holds {type(cell).__name__}"
        )
    return bytes(cell["bytes"])


def _class_names(metadata: Mapping[bytes, bytes] | None) -> Sequence[str] | None:
    """Return the names of a ClassLabel that ``datasets`` wrote into a parquet file, or None."""
    try:
        features = json.loads((metadata or {})[b"huggingface"])["info"]["features"]
        column = next(features[name] for name in _LABELS if name in features)
        names = column.get("names") if column.get("_type") == "ClassLabel" else None
    except (KeyError, TypeError, ValueError, AttributeError, StopIteration):
        return None
    return [str(name) for name in names] if isinstance(names, list) else None


def open_parquet(path: str) -> Any:
    """Open a large parquet file by row, mapped instead of loaded.

    ``datasets`` converts it to Arrow once, in its cache (~/.cache/huggingface, or
    HF_DATASETS_CACHE).
    """
    return _Pictures(_datasets().Dataset.from_parquet(path, columns=["image"]))


# --- datasets ------------------------------------------------------------------------------------


def fits_saved(path: Path) -> bool:
    return (path / "dataset_dict.json").is_file() or (path / "state.json").is_file()


def read_saved(source: DatasetSpec, split: str | None) -> Iterator[StoredFace]:
    """Read a folder of ``save_to_disk``: a Dataset, or a DatasetDict with parts as keys."""
    yield from _dataset(source, split, open_saved)


def fits_hub(path: Path) -> bool:
    return str(path).startswith(HUB)


def read_hub(source: DatasetSpec, split: str | None) -> Iterator[StoredFace]:
    """Read ``hf:NAME``, a data set of the Hugging Face Hub.

    The first time needs the network; later reads use the cache of ``datasets``
    (HF_HUB_OFFLINE=1 uses the cache alone).
    """
    yield from _dataset(source, split, open_hub)


def open_saved(path: str, part: str = "") -> Any:
    return _Pictures(_parts(_load_saved(path))[part])


def open_hub(name: str, part: str = "") -> Any:
    return _Pictures(_parts(_load_hub(name))[part], downloaded=True)


def _dataset(source: DatasetSpec, split: str | None, open_: Any) -> Iterator[StoredFace]:
    hub = source.path.startswith(HUB)
    location = source.path.removeprefix(HUB) if hub else str(source.file.resolve())
    try:
        parts = _parts((_load_hub if hub else _load_saved)(location))
    except DataError:
        raise
    except Exception as error:  # a damaged folder or a lost network can raise anything
        hint = " It needs the network, or a copy in the cache of datasets." if hub else ""
        raise DataError(f"cannot load {source.path}.{hint} {error}") from error
    check_part(source, split, parts)
    part = "" if "" in parts else str(split)
    table = parts[part]
    if "image" not in table.column_names:
        raise DataError(
            f"expected columns image and label in {source.path}, found "
            f"{', '.join(table.column_names)}"
        )
    rest = table.remove_columns("image")
    kind = next((rest.features[name] for name in _LABELS if name in rest.column_names), None)
    yield from from_columns(
        [LazyRow(open_, (location, part), i) for i in range(len(table))],
        {name: rest[name][:] for name in rest.column_names},
        source.path,
        getattr(kind, "names", None),
    )


def _parts(loaded: Any) -> dict[str, Any]:
    for table in loaded.values() if isinstance(loaded, Mapping) else [loaded]:
        # Arrow trusts the offsets in a file: unchecked, a damaged one reads foreign memory.
        table.data.validate(full=True)
    if not isinstance(loaded, Mapping):
        return {"": loaded}
    named = [name for name in loaded if name.lower() in SPLIT_NAMES]
    if not named and len(loaded) == 1:
        return {"": next(iter(loaded.values()))}
    parts = {SPLIT_NAMES[name.lower()]: loaded[name] for name in named}
    if not parts or len(parts) < len(named):
        raise DataError(f"expected parts train, val and test, each once, found {', '.join(loaded)}")
    return parts


def _load_saved(path: str) -> Any:
    """Load a saved data set. Raises DataError if it names files outside its folder."""
    for state in (Path(path) / "state.json", *Path(path).glob("*/state.json")):
        listed = json.loads(state.read_text("utf-8"))["_data_files"] if state.is_file() else []
        if outside := [f for f in listed if Path(f["filename"]).name != f["filename"]]:
            raise DataError(f"expected only files beside {state}, but it names {outside[0]}")
    return _datasets().load_from_disk(path)


def _load_hub(name: str) -> Any:
    return _datasets().load_dataset(name)


class _Pictures:
    """Image column of a mapped table, by row.

    Paths in the column are followed only if ``downloaded``: then ``datasets`` wrote them itself.
    In any other table they may name any file of this machine.
    """

    def __init__(self, dataset: Any, downloaded: bool = False) -> None:
        self.downloaded = downloaded
        self.rows = dataset.select_columns("image").with_format("arrow")  # undecoded

    def __getitem__(self, index: int) -> bytes | Path:
        cell = self.rows[index]["image"][0].as_py()
        if self.downloaded and isinstance(cell, dict) and cell["bytes"] is None:
            return Path(cell["path"])
        return _bytes(cell, f"row {index}")


def _datasets() -> Any:
    try:
        import datasets
    except ImportError as error:
        raise MissingDependencyError("datasets", "train") from error
    datasets.disable_progress_bars()
    return datasets
