"""Readers of CSV files: Kaggle's FER2013, and lists of picture files."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from fer_edge.errors import DataError, LabelError, MissingPartError
from fer_edge.labels import canonical, label_of_number
from fer_edge.training.data.dataset_spec import (
    SPLIT_NAMES,
    DatasetSpec,
    StoredFace,
    as_label,
    inside,
)
from fer_edge.training.data.ferplus import FILE, read_votes, vote_columns

_SIDE_PX = 48

# A field with 48x48 numbers exceeds csv's default limit on some systems.
csv.field_size_limit(min(sys.maxsize, 2**31 - 1))


def fits_fer2013(path: Path) -> bool:
    return "pixels" in _columns(_csv(path))


def fits_list(path: Path) -> bool:
    return _csv(path) is not None


def read_fer2013(source: DatasetSpec, split: str | None) -> Iterator[StoredFace]:
    """Read Kaggle's fer2013.csv, or icml_face_data.csv, whose header has spaces.

    Columns: emotion (0-6), pixels (48x48 numbers), Usage (Training, PublicTest, PrivateTest). If
    FER+'s fer2013new.csv is in the same folder, its votes are added row by row.
    """
    path = _csv(source.file)
    assert path is not None
    beside = path.with_name(FILE)
    votes = read_votes(beside) if beside.is_file() else None
    for line, usage, row in _rows(path, split, "usage"):
        if votes is not None and (line - 2 >= len(votes) or votes[line - 2][0] != usage):
            raise DataError(f"{beside} does not match {path}: they differ at line {line}")
        try:
            pixels = np.array(row["pixels"].split(), np.uint8)
            image = pixels.reshape(_SIDE_PX, _SIDE_PX)
            emotion = row["emotion"].strip()
            label = (
                label_of_number(int(emotion), "fer2013-csv")
                if emotion.lstrip("-").isdigit()
                else canonical(emotion)
            )
        except (ValueError, OverflowError, AttributeError) as error:
            raise DataError(f"{path}, line {line}: not a FER2013 row: {error}") from error
        yield StoredFace(
            cv2.imencode(".png", image)[1].tobytes(),
            label,
            f"{path.stem}:{line}",
            None if votes is None else votes[line - 2][1],
        )


def read_list(source: DatasetSpec, split: str | None) -> Iterator[StoredFace]:
    """Read a list of files, as ``fer-edge data split --as list`` writes it.

    Columns: path (below the list's folder) and label; optionally split, subject, clip and the
    ferplus_* votes.
    """
    path = _csv(source.file)
    assert path is not None
    if not _columns(path) >= {"path", "label"}:
        raise DataError(
            f"expected columns emotion, pixels, Usage (FER2013) or path, label (a list of files) "
            f"in {path}, got {', '.join(sorted(_columns(path))) or 'nothing'}"
        )
    order: list[str] | None = None
    for line, _, row in _rows(path, split, "split"):
        if order is None:
            columns = [name for name in row if name.startswith("ferplus_")]
            order = vote_columns(columns, path) if columns else []
        try:
            yield StoredFace(
                inside(path.parent, row["path"]),
                as_label(row["label"], f"{path}, line {line}"),
                row["path"],
                tuple(int(row[column]) for column in order) if order and row[order[0]] else None,
                row.get("subject") or None,
                row.get("clip") or None,
            )
        except (ValueError, TypeError, AttributeError) as error:
            if isinstance(error, LabelError):
                raise
            raise DataError(f"{path}, line {line}: not a row of a list: {error}") from error


def _rows(
    path: Path, split: str | None, part_column: str
) -> Iterator[tuple[int, str, dict[str, Any]]]:
    """Yield line, part and cells (by lower-case column) of each row of the requested part."""
    parts = set()
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        rows = csv.DictReader(file, skipinitialspace=True)
        rows.fieldnames = [name.strip().lower() for name in rows.fieldnames or ()]
        for line, row in enumerate(rows, start=2):
            usage = (row.get(part_column) or "train").strip().lower()
            if usage not in SPLIT_NAMES:
                raise DataError(
                    f"{path}, line {line}: expected {part_column} to be one of "
                    f"{', '.join(SPLIT_NAMES)}, got {usage!r}"
                )
            parts.add(SPLIT_NAMES[usage])
            if split in (None, SPLIT_NAMES[usage]):
                yield line, SPLIT_NAMES[usage], row
    if parts and split is not None and split not in parts:
        raise MissingPartError(f"{path} has no {split!r} rows, only {', '.join(sorted(parts))}")


def _csv(path: Path) -> Path | None:
    """Return the CSV file itself, or the first one in a folder without subfolders.

    FER+'s votes alone are not a data set.
    """
    if path.is_dir():
        if any(entry.is_dir() for entry in path.iterdir()):
            return None
        return min((file for file in path.glob("*.csv") if file.name != FILE), default=None)
    return path if path.suffix.lower() == ".csv" else None


def _columns(path: Path | None) -> set[str]:
    if path is None:
        return set()
    try:
        with path.open(newline="", encoding="utf-8", errors="replace") as file:
            return {name.strip().lower() for name in next(csv.reader(file), [])}
    except (OSError, csv.Error) as error:
        raise DataError(f"cannot read {path}: {error}") from error
