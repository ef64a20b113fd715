"""Readers of tables with a row per picture, and of ``datasets``.

Columns: ``image`` (a struct of ``bytes`` and ``path``, the layout of ``datasets``) and ``label``
(names; numbers need a ClassLabel in the file, or an order). Optional columns: ``name``,
``subject``, ``clip``, and FER+'s votes as ``ferplus_*``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from fer_edge.errors import DataError, MissingDependencyError
from fer_edge.libraries import needed
from fer_edge.shown import shown
from fer_edge.training.data.csv_text import found
from fer_edge.training.data.dataset_spec import (
    HUB,
    SPLIT_NAMES,
    DatasetSpec,
    StoredFace,
    check_part,
    column_named,
    label_of,
    stated,
)
from fer_edge.training.data.ferplus import MOST_VOTES, vote_columns
from fer_edge.training.data.lazy_rows import LazyRow
from fer_edge.training.data.readers.saved_files import check_saved

LABELS = ("fer2013_label", "label", "labels", "emotion", "expression")
_MORE = ("name", "subject", "clip")


def from_columns(
    pictures: Sequence[Any],
    columns: Mapping[str, Sequence[Any]],
    where: object,
    source: DatasetSpec,
    class_names: Sequence[str] | None = None,
    keys: Sequence[str] | None = None,
) -> Iterator[StoredFace]:
    """Yield the rows of a table as faces.

    Args:
        pictures: Picture of each row.
        columns: Cells of each column.
        where: Path of the table, from which pictures without a name are named.
        source: Its further columns are kept as text; the table then needs no label column.
        class_names: Meaning of numeric labels if the file states it.
        keys: Key of each picture in the table; None counts the rows.

    Raises:
        DataError: The table has no label column or no such column, or a label is out of range.
        LabelError: A label is neither a name nor a number, or is missing where labels are read.
    """
    if any(len(cells) != len(pictures) for cells in columns.values()):
        lengths = {name: len(cells) for name, cells in columns.items()}
        raise DataError(
            f"expected a cell for each of the {len(pictures):,} pictures of {where}, got "
            f"{shown(lengths)}"
        )
    label_column = next((name for name in LABELS if name in columns), None)
    if label_column is None and source.columns is None:
        raise DataError(
            f"expected columns image and label (or {', '.join(LABELS[0::2])}) in {where}, "
            f"found {found(sorted(columns))}"
        )
    voted = [name for name in columns if name.startswith("ferplus_")]
    order = vote_columns(voted, where) if voted else []
    kept = {
        name: columns[column_named(name, list(columns), where)] for name in source.columns or ()
    }
    for i, picture in enumerate(pictures):
        at = f"{where}, row {i}"
        label = label_of(columns[label_column][i], source, at) if label_column else None
        if isinstance(label, int) and class_names is not None:
            if not 0 <= label < len(class_names):
                raise DataError(f"{at}: label {label} is not one of {shown(class_names)}")
            label = class_names[label]
        name, subject, clip = (columns[key][i] if key in columns else None for key in _MORE)
        votes = [_vote(columns[key][i], at) for key in order]
        yield StoredFace(
            picture,
            label,
            _text(name) or f"{where}:{i if keys is None else keys[i]}",
            # -1 stands for a missing vote: HDF5 has no empty cells.
            tuple(votes) if votes and min(votes) >= 0 else None,
            stated(subject),
            stated(clip),
            unnamed=not _text(name),
            cells={key: _text(column[i]).strip() for key, column in kept.items()},
        )


def _vote(cell: Any, where: str) -> int:
    """Return a vote; -1 stands for a missing one."""
    if cell is None:
        return -1
    if isinstance(cell, bool) or not isinstance(cell, int | float) or not -1 <= cell <= MOST_VOTES:
        raise DataError(f"expected a number of votes in {where}, got {shown(cell)}")
    return int(cell)


def _text(cell: Any) -> str:
    if isinstance(cell, bytes):
        return cell.decode("utf-8", "replace")
    return "" if cell is None else str(cell)


def is_used(name: str, more: Sequence[str]) -> bool:
    """Return True for a column that readers take besides the label, or that ``more`` names."""
    return (
        name in _MORE
        or name.startswith("ferplus_")
        or name.lower() in {column.lower() for column in more}
    )


def used_columns(
    names: Sequence[str], where: object, more: Sequence[str] | None = None
) -> list[str]:
    """Return the columns to read besides ``image``, the label first.

    Args:
        names: Columns of the table.
        where: Name of the table, for messages.
        more: Further columns to read; the table then needs no label.

    Raises:
        DataError: A column is missing, or is there twice.
    """
    label = next((name for name in LABELS if name in names), None)
    if (label is None and more is None) or "image" not in names:
        raise DataError(
            f"expected columns image and label (or {', '.join(LABELS[0::2])}) in {where}, "
            f"found {found(sorted(names))}"
        )
    used = [label] if label else []
    used += [name for name in names if is_used(name, ())]
    used += [column_named(name, names, where) for name in more or ()]
    used = list(dict.fromkeys(used))
    for name in ("image", *used):
        if list(names).count(name) > 1:
            raise DataError(f"{where} has the column {shown(name)} twice. Remove one of them")
    return used


def cells_of(column: Any, where: str) -> list[Any]:
    """Return the cells of a pyarrow column of names or numbers.

    Texts that repeat become one object, so that a dictionary cannot unpack to gigabytes.
    """
    import pyarrow

    cells: list[Any] = []
    for chunk in column.chunks:
        if isinstance(chunk, pyarrow.DictionaryArray):
            words = chunk.dictionary.to_pylist()
            cells += [None if i is None else words[i] for i in chunk.indices.to_pylist()]
        elif pyarrow.types.is_nested(chunk.type):
            raise DataError(f"expected a name or number in each row of {where}, got lists")
        else:
            cells += chunk.to_pylist()
    return cells


def picture_bytes(cell: Any, where: str) -> bytes:
    if not isinstance(cell, dict) or not isinstance(cell.get("bytes"), bytes):
        raise DataError(
            f"expected the column image to hold the encoded picture as bytes, in a struct of bytes "
            f"and path; {where} holds {type(cell).__name__}"
        )
    return bytes(cell["bytes"])


# --- datasets ------------------------------------------------------------------------------------


def fits_saved(path: Path) -> bool:
    return (path / "dataset_dict.json").is_file() or (path / "state.json").is_file()


def read_saved(source: DatasetSpec, split: str | None) -> Iterator[StoredFace]:
    """Read a folder of ``save_to_disk``.

    It is a Dataset, or a DatasetDict with parts as keys.
    """
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
    return Pictures(_parts(_load_saved(path))[part])


def open_hub(name: str, part: str = "") -> Any:
    return Pictures(_parts(_load_hub(name))[part], downloaded=True)


def _dataset(source: DatasetSpec, split: str | None, open_: Any) -> Iterator[StoredFace]:
    hub = source.path.startswith(HUB)
    location = source.path.removeprefix(HUB) if hub else str(source.file.resolve())
    try:
        parts = _parts((_load_hub if hub else _load_saved)(location))
    except (DataError, MissingDependencyError):
        raise
    except Exception as error:  # a damaged folder or a lost network can raise anything
        hint = " It needs the network, or a copy in the cache of datasets." if hub else ""
        raise DataError(f"cannot load {source.path}.{hint} {error}") from error
    check_part(source, split, parts)
    part = "" if "" in parts else str(split)
    table, where = parts[part], str(source.file)
    used = used_columns(table.column_names, where, source.columns)
    try:
        # As Arrow, without decoding, and only what is used: other columns can be of any size.
        cells = table.select_columns(used).with_format("arrow")[:]
        columns = {name: cells_of(cells[name], f"{where}, column {name}") for name in used}
    except DataError:
        raise
    except Exception as error:  # Arrow raises many types for values that it cannot convert
        raise DataError(f"cannot read {source.path}: {error}") from error
    yield from from_columns(
        [LazyRow(open_, (location, part), i) for i in range(len(table))],
        columns,
        where,
        source,
        next((getattr(table.features[n], "names", None) for n in LABELS if n in used), None),
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
    check_saved(Path(path))
    return import_datasets().load_from_disk(path)


def _load_hub(name: str) -> Any:
    return import_datasets().load_dataset(name)


class Pictures:
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
        return picture_bytes(cell, f"row {index}")


def import_datasets() -> Any:
    with needed("datasets", "train"):
        import datasets
    datasets.disable_progress_bars()
    return datasets
