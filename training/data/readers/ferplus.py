"""Reader of FER+ folders: pictures, and a label.csv with votes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from fer_edge.errors import DataError
from fer_edge.shown import shown
from fer_edge.training.data.csv_text import cells_of
from fer_edge.training.data.dataset_spec import DatasetSpec, StoredFace, check_part
from fer_edge.training.data.ferplus import NAMES, majority, votes_from
from fer_edge.training.data.listed_files import ListedFiles

_FOLDERS = {"FER2013Train": "train", "FER2013Valid": "val", "FER2013Test": "test"}


def fits(path: Path) -> bool:
    return bool(_parts(path))


def read(source: DatasetSpec, split: str | None) -> Iterator[StoredFace]:
    """Read the folders that FER+'s generate_training_data.py writes.

    ``FER2013Train/`` has ``fer0000000.png`` and a ``label.csv`` without a header. Each row is a
    file name, a box, and the votes in FER+'s order. FER2013's labels are not included: the label is
    the majority of the votes. See https://github.com/microsoft/FERPlus.
    """
    parts = _parts(source.file)
    check_part(source, split, parts)
    path = parts[str(split)]
    files = ListedFiles(path.parent, path)
    for line, row in cells_of(path):
        try:
            name, _, *cells = row
            votes = votes_from(cells)
        except ValueError as error:
            raise DataError(f"{path}, line {line}: not a row of FER+: {error}") from error
        if len(votes) != len(NAMES):
            raise DataError(f"{path}, line {line}: expected {len(NAMES)} votes, got {shown(row)}")
        yield StoredFace(files[name], majority(votes), name, votes)


def _parts(path: Path) -> dict[str, Path]:
    files = {part: path / folder / "label.csv" for folder, part in _FOLDERS.items()}
    return {part: file for part, file in files.items() if file.is_file()}
