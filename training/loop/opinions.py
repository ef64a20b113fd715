"""Predictions of a teacher in a file, for teachers that are not checkpoints.

A parquet file has a row for each face: ``name``, the face's name in its data set, and a column for
each label with the logarithm of its probability. Any program can write it. Before names are
compared, control characters, invisible marks and bytes that are not UTF-8 are escaped.

``write_opinions`` writes the predictions of a checkpoint.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fer_edge.atomic import fill_file, make_place
from fer_edge.errors import DataError
from fer_edge.shown import printable
from fer_edge.training.data.faces import LabelledFace

_NAMED = 3
"""Largest number of faces that a message names."""


def read_opinion(file: str | Path, faces: Sequence[LabelledFace], labels: Sequence[str]) -> Tensor:
    """Return log P(label | face) from a file, float64 ``[N, classes]``.

    Args:
        file: Parquet file with ``name`` and a column for each label.
        faces: The faces in the order of the result.
        labels: Labels in the order of the result.

    Raises:
        DataError: The file cannot be read, a column or a face is missing, a number is not finite,
            or two faces have the same name.
    """
    names = _names(faces)
    _check_distinct(names, "the data sets of the run")
    columns = _columns(Path(file), ["name", *labels])
    _check_distinct(columns["name"], file)
    try:
        values = torch.tensor([columns[label] for label in labels], dtype=torch.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"expected numbers in the columns of labels of {file}: {error}") from error
    if values.ndim != 2:
        raise DataError(f"expected numbers in the columns of labels of {file}, got lists")
    values = values.T
    stored = [printable(name) for name in columns["name"]]
    _check_distinct(stored, file)
    row_of = {name: i for i, name in enumerate(stored)}
    if missing := [name for name in names if name not in row_of]:
        raise DataError(
            f"{file} lacks {len(missing):,} of {len(names):,} faces, such as "
            f"{', '.join(missing[:_NAMED])}. Write it again for all data sets of the run"
        )
    rows = values[[row_of[name] for name in names]]
    if not torch.isfinite(rows).all():
        raise DataError(f"expected finite logarithms in {file}. Write log(max(p, 1e-6))")
    return nn.functional.log_softmax(rows, 1)


def write_opinion(
    file: str | Path, faces: Sequence[LabelledFace], logits: Tensor, labels: Sequence[str]
) -> None:
    """Write a file that ``read_opinion`` reads.

    Args:
        file: Path to write, .parquet.
        faces: The faces.
        logits: Logits, or logarithms of probabilities, ``[N, classes]``.
        labels: Labels of the columns.

    Raises:
        DataError: The file cannot be written, or two faces have the same name.
    """
    import pyarrow
    import pyarrow.parquet

    check_before_work(file, faces)
    log_p = nn.functional.log_softmax(logits.double(), 1)
    columns: dict[str, Any] = {"name": _names(faces)}
    columns |= {label: log_p[:, i].numpy() for i, label in enumerate(labels)}
    table = pyarrow.table(columns)

    def fill(path: Path) -> None:
        with path.open("wb") as opened:
            pyarrow.parquet.write_table(table, opened)

    try:
        fill_file(Path(file), fill)
    except OSError as error:
        raise _unwritable(file, error) from error


def check_before_work(file: str | Path, faces: Sequence[LabelledFace]) -> None:
    """Check names and path of a file before minutes of predictions depend on them.

    Args:
        file: Path to write; its folder is made.
        faces: The faces.

    Raises:
        DataError: The file cannot be written, or two faces have the same name.
    """
    _check_distinct(_names(faces), "the data sets")
    try:
        make_place(Path(file))
    except OSError as error:
        raise _unwritable(file, error) from error


def _unwritable(file: str | Path, error: OSError) -> DataError:
    return DataError(f"cannot write {file}: {error.strerror or error}. Choose another file with -o")


def opinion_facts(files: Sequence[str]) -> dict[str, list[dict[str, str]]]:
    """Return name and SHA-256 of each file as ``opinions``, for the card; {} without files."""
    facts = [
        {"file": Path(file).name, "sha256": hashlib.sha256(Path(file).read_bytes()).hexdigest()}
        for file in files
    ]
    return {"opinions": facts} if facts else {}


def _columns(file: Path, needed: Sequence[str]) -> dict[str, list[Any]]:
    """Return the cells of the columns. Raises DataError."""
    import pyarrow.parquet

    if not file.is_file():
        raise DataError(f"expected a parquet file of predictions at {file}, found none")
    try:
        table = pyarrow.parquet.ParquetFile(file)
        if lacking := [name for name in needed if name not in table.schema_arrow.names]:
            raise DataError(
                f"expected columns {', '.join(needed)} in {file}; it lacks {', '.join(lacking)}"
            )
        columns: dict[str, list[Any]] = table.read(columns=list(needed)).to_pydict()
    except DataError:
        raise
    except Exception as error:  # a damaged file can make pyarrow raise anything
        raise DataError(f"cannot read {file}: {error}") from error
    return columns


def _names(faces: Sequence[LabelledFace]) -> list[str]:
    return [printable(face.name) for face in faces]


def _check_distinct(names: Sequence[Any], where: object) -> None:
    if not all(isinstance(name, str) for name in names):
        raise DataError(f"expected the names of faces as texts in {where}")
    name, count = Counter(names).most_common(1)[0] if names else ("", 0)
    if count > 1:
        raise DataError(
            f"expected a name of its own for each face, but {name} is in {where} {count} times. "
            "Predictions in a file are found by name"
        )
