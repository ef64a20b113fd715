"""FER+ as its own script lays it out: pictures in folders, votes in a label.csv in each."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

from fer_edge.errors import DataError
from fer_edge.training.data.dataset_spec import DatasetSpec, StoredFace, check_part, inside
from fer_edge.training.data.ferplus import NAMES, majority

_FOLDERS = {"FER2013Train": "train", "FER2013Valid": "val", "FER2013Test": "test"}


def fits(path: Path) -> bool:
    return bool(_parts(path))


def read(source: DatasetSpec, split: str | None) -> Iterator[StoredFace]:
    """What generate_training_data.py of https://github.com/microsoft/FERPlus writes:
    ``FER2013Train/fer0000000.png`` and ``FER2013Train/label.csv`` without a header, a row being
    the file's name, a box, and the votes in FER+'s order.

    FER2013's own labels are not in it: the label is the voters' majority.
    """
    parts = _parts(source.file)
    check_part(source, split, parts)
    path = parts[str(split)]
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        for line, row in enumerate(csv.reader(file), start=1):
            try:
                name, _, *cells = row
                votes = tuple(int(cell) for cell in cells)
            except ValueError as error:
                raise DataError(f"{path}, line {line}: not a row of FER+: {error}") from error
            if len(votes) != len(NAMES) or min(votes) < 0:
                raise DataError(f"{path}, line {line}: expected {len(NAMES)} votes, got {row}")
            yield StoredFace(inside(path.parent, name), majority(votes), name, votes)


def _parts(path: Path) -> dict[str, Path]:
    files = {part: path / folder / "label.csv" for folder, part in _FOLDERS.items()}
    return {part: file for part, file in files.items() if file.is_file()}
