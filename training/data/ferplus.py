"""FER+: ten votes for each picture of FER2013, their majority and distribution.

Barsoum et al., "Training Deep Networks for Facial Expression Recognition with Crowd-Sourced Label
Distribution", ICMI 2016; file and rules: https://github.com/microsoft/FERPlus (MIT).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from fer_edge.errors import DataError, LabelError
from fer_edge.labels import EMOTIONS_8, SOURCE_ORDERS, canonical
from fer_edge.shown import shown
from fer_edge.training.data.csv_text import found, header, records, whole_number
from fer_edge.training.data.dataset_spec import SPLIT_NAMES

NAMES = SOURCE_ORDERS["ferplus"]
"""Names of the vote columns, in order."""
FILE = "fer2013new.csv"
"""Name of the file with the votes."""
MOST_VOTES = 1_000_000
"""Largest number of votes for one name. FER+ has ten people."""
_NO_EXPRESSION = ("unknown", "not a face")


def without_outliers(votes: Sequence[int]) -> list[int]:
    """Set single votes to 0, as FER+'s own script does."""
    return [count if count > 1 else 0 for count in votes]


def majority(votes: Sequence[int]) -> str | None:
    """Return the name with more than half of the votes, or None.

    FER+'s own rule (``majority`` in its ferplus.py): single votes do not count. None also stands
    for a majority that saw no expression.
    """
    counted = without_outliers(votes)
    most = max(counted)
    name = NAMES[counted.index(most)]
    return None if 2 * most <= sum(counted) or name in _NO_EXPRESSION else name


def distribution(votes: Sequence[int], labels: Sequence[str]) -> tuple[float, ...] | None:
    """Return each label's share of the votes, or None.

    The shares sum to 1.

    Single votes and votes for other names do not count. None stands for pictures in which most
    people saw no expression, or none of these labels.

    Args:
        votes: Votes in the order of NAMES.
        labels: Labels, in the order of the result.
    """
    counted = dict(zip(NAMES, without_outliers(votes), strict=True))
    if max(counted.values()) == max(counted[name] for name in _NO_EXPRESSION):
        return None
    shares = [counted.get(label, 0) for label in labels]
    return tuple(share / sum(shares) for share in shares) if sum(shares) else None


def most_voted(votes: Sequence[int]) -> str | None:
    """Return the name with the highest share, or None.

    Of equal shares, the first in FER+'s order counts.
    """
    names = [name for name in NAMES if name in EMOTIONS_8]
    shares = distribution(votes, names)
    return None if shares is None else names[shares.index(max(shares))]


def vote_columns(columns: Iterable[str], where: object) -> list[str]:
    """Return the vote columns in the order of NAMES, in any spelling.

    Raises DataError for a missing column.
    """
    columns = list(columns)
    return [_column(name, columns, where) for name in NAMES]


def _column(name: str, columns: list[str], where: object) -> str:
    for column in columns:
        spelling = column.strip().lower().removeprefix("ferplus_").replace("_", " ")
        if spelling == name or (name == "not a face" and spelling == "nf"):
            return column
        try:
            if canonical(spelling) == name:
                return column
        except LabelError:
            continue
    raise DataError(f"{where} has FER+ columns, but none for {name!r}: {', '.join(columns)}")


def votes_from(cells: Iterable[str]) -> tuple[int, ...]:
    """Return the votes in the cells of a row.

    Raises ValueError for a cell that is no whole number from 0 to MOST_VOTES.
    """
    votes = tuple(map(whole_number, cells))
    if wrong := [vote for vote in votes if not 0 <= vote <= MOST_VOTES]:
        raise ValueError(
            f"expected 0 to {MOST_VOTES:,} votes, got {shown(wrong[0])}. Correct the number"
        )
    return votes


def read_votes(path: Path) -> list[tuple[str, tuple[int, ...]]]:
    """Return the part and the votes of each row of fer2013new.csv.

    Columns: Usage, Image name (empty for pictures without a face), then the votes. The rows are
    those of fer2013.csv in the same order (FERPlus README).

    Args:
        path: Path of the file.

    Returns:
        For each row "train", "val" or "test", and the votes in the order of NAMES.

    Raises:
        DataError: The file has another layout.
    """
    names = header(path)
    if "usage" not in names:
        raise DataError(
            f"expected FER+'s columns Usage, neutral, … in {path}, found {found(names)}"
        )
    order = vote_columns([name for name in names if name not in ("usage", "image name")], path)
    votes = []
    for line, row in records(path):
        try:
            part = SPLIT_NAMES[row["usage"].strip().lower()]
            votes.append((part, votes_from(row[name] for name in order)))
        except (KeyError, ValueError) as error:
            raise DataError(f"{path}, line {line}: not a row of FER+: {error}") from error
    return votes
