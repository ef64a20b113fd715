"""Readers of CSV files: Kaggle's FER2013, and lists of picture files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from fer_edge.errors import DataError, LabelError
from fer_edge.labels import canonical, label_of_number
from fer_edge.paths import is_clutter
from fer_edge.shown import shown
from fer_edge.training.data.csv_text import found, header, records
from fer_edge.training.data.dataset_spec import (
    SPLIT_NAMES,
    DatasetSpec,
    StoredFace,
    as_label,
    column_named,
    label_of,
    missing_part,
    stated,
)
from fer_edge.training.data.ferplus import FILE, read_votes, vote_columns, votes_from
from fer_edge.training.data.listed_files import ListedFiles
from fer_edge.training.data.picture_files import holds_pictures

_SIDE_PX = 48
_MOST_PIXEL_TEXT = 6 * _SIDE_PX**2
"""Largest length of a row's pixels as text: three digits and two separators for each."""
_PATHS = ("path", "pth", "file", "filename")
"""Names of the column with the pictures' paths; the first that a list has counts."""
_EXPECTED = "emotion, pixels, Usage (FER2013) or path, label (a list of files)"


def fits_fer2013(path: Path) -> bool:
    file = _csv(path)
    return file is not None and "pixels" in header(file)


def fits_list(path: Path) -> bool:
    return _csv(path) is not None


def read_fer2013(source: DatasetSpec, split: str | None) -> Iterator[StoredFace]:
    """Read Kaggle's fer2013.csv, or icml_face_data.csv, whose header has spaces.

    Columns: emotion (0-6), pixels (48x48 numbers), Usage (Training, PublicTest, PrivateTest). If
    FER+'s fer2013new.csv is in the same folder, its votes are added row by row.
    """
    path = _csv(source.file)
    assert path is not None
    if "emotion" not in (names := header(path)):
        raise DataError(
            f"expected a column emotion with FER2013's labels in {path}, found {found(names)}. "
            "Rename the column with the labels to emotion, or use a file that has labels"
        )
    kept = {name: column_named(name, names, path) for name in source.columns or ()}
    beside = path.with_name(FILE)
    votes = read_votes(beside) if beside.is_file() else None
    for number, line, usage, row in _rows(path, split, "usage"):
        if votes is not None and (number >= len(votes) or votes[number][0] != usage):
            raise DataError(f"{beside} does not match {path}: they differ at line {line}")
        try:
            image = _pixels(row["pixels"])
            emotion = as_label(row["emotion"], "the row")
            label = (
                label_of_number(emotion, "fer2013-csv")
                if isinstance(emotion, int)
                else canonical(emotion)
            )
        except (ValueError, OverflowError) as error:
            raise DataError(f"{path}, line {line}: not a FER2013 row: {error}") from error
        yield StoredFace(
            cv2.imencode(".png", image)[1].tobytes(),
            label,
            f"{path.stem}:{line}",
            None if votes is None else votes[number][1],
            cells={key: row[column].strip() for key, column in kept.items()},
        )


def _pixels(text: str) -> npt.NDArray[np.uint8]:
    """Return a row's grey picture. Raises ValueError."""
    if len(text) > _MOST_PIXEL_TEXT:
        raise ValueError(f"expected {_SIDE_PX}x{_SIDE_PX} pixels, got {len(text):,} characters")
    numbers = text.strip("[] ").replace(",", " ").split()
    try:
        values = np.array(numbers, np.int64)  # as uint8, numpy 1.26 would turn 256 into 0
    except (ValueError, OverflowError):
        odd = next(n for n in [*numbers, ""] if not n.isdecimal() or len(n) > 3)
        raise ValueError(
            f"expected whole numbers from 0 to 255 as pixels, got {shown(odd)}. Round them"
        ) from None
    if len(values) != _SIDE_PX**2:
        raise ValueError(f"expected {_SIDE_PX}x{_SIDE_PX} pixels, got {len(values):,} numbers")
    if not 0 <= values.min() <= values.max() <= 255:
        raise ValueError(f"expected pixels from 0 to 255, got {values.min()} to {values.max()}")
    return values.astype(np.uint8).reshape(_SIDE_PX, _SIDE_PX)


def read_list(source: DatasetSpec, split: str | None) -> Iterator[StoredFace]:
    """Read a list of files.

    ``fer-edge data split --as list`` writes one.

    Columns: path (below the list's folder) and label; optionally split, subject, clip and the
    ferplus_* votes.
    """
    path = _csv(source.file)
    assert path is not None
    names = header(path)
    column = next((name for name in _PATHS if name in names), None)
    if column is None or ("label" not in names and source.columns is None):
        raise DataError(
            f"expected columns {_EXPECTED} in {path}, found {found(names)}. Rename the columns"
        )
    kept = {name: column_named(name, names, path) for name in source.columns or ()}
    voted = [name for name in names if name.startswith("ferplus_")]
    order = vote_columns(voted, path) if voted else []
    files = ListedFiles(path.parent, path)
    for _, line, _, row in _rows(path, split, "split"):
        try:
            yield StoredFace(
                files[row[column]],
                label_of(row["label"], source, f"{path}, line {line}") if "label" in row else None,
                row[column],
                votes_from(row[name] for name in order) if order and row[order[0]] else None,
                stated(row.get("subject")),
                stated(row.get("clip")),
                cells={key: row[name].strip() for key, name in kept.items()},
            )
        except ValueError as error:
            if isinstance(error, LabelError):
                raise
            raise DataError(f"{path}, line {line}: not a row of a list: {error}") from error


def _rows(
    path: Path, split: str | None, part_column: str
) -> Iterator[tuple[int, int, str, dict[str, str]]]:
    """Yield each row of the requested part: number, line, part and cells by lower-case column.

    Numbers count the rows of all parts from 0.
    """
    parts = set()
    for number, (line, row) in enumerate(records(path)):
        usage = (row.get(part_column) or "train").strip().lower()
        if usage not in SPLIT_NAMES:
            raise DataError(
                f"{path}, line {line}: expected {part_column} to be one of "
                f"{', '.join(SPLIT_NAMES)}, got {shown(usage)}"
            )
        parts.add(SPLIT_NAMES[usage])
        if split in (None, SPLIT_NAMES[usage]):
            yield number, line, SPLIT_NAMES[usage], row
    if parts and split is not None and split not in parts:
        raise missing_part(path, split, parts)


def _csv(path: Path) -> Path | None:
    """Return the CSV file itself, or the one of a folder that fits best.

    FER+'s votes alone are not a data set, and CSV files beside folders of pictures are notes.

    Raises DataError if several files fit equally well.
    """
    if not path.is_dir():
        return path if path.suffix.lower() == ".csv" else None
    entries = [entry for entry in sorted(path.iterdir()) if not is_clutter(entry.name)]
    files = [e for e in entries if e.suffix.lower() == ".csv" and e.is_file() and e.name != FILE]
    folders = [entry for entry in entries if entry.is_dir()]
    ranks = {file: _rank(header(file)) for file in files}
    if folders and (
        min(ranks.values(), default=_POOR) > _LABELLED or any(map(holds_pictures, folders))
    ):
        return None
    best = [file for file, rank in ranks.items() if rank == min(ranks.values())]
    if len(best) > 1 and ranks[best[0]] < _POOR:
        names = ", ".join(file.name for file in best)
        raise DataError(f"{path} holds several data sets: {names}. Name one: {best[0]}")
    return best[0] if best else None


_LABELLED, _POOR = 1, 3


def _rank(names: list[str]) -> int:
    """Return the rank of a table by its columns; 0 is the best.

    FER2013 with parts has 0, FER2013 has 1, and a list of files has 2.
    """
    if {"emotion", "pixels"} <= set(names):
        return 0 if "usage" in names else _LABELLED
    if "label" in names and any(name in names for name in _PATHS):
        return 2
    return _POOR if "pixels" in names else _POOR + 1
