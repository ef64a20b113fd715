"""FER+: ten people's votes for each picture of FER2013, and what to make of them.

Barsoum et al., "Training Deep Networks for Facial Expression Recognition with Crowd-Sourced Label
Distribution", ICMI 2016; file and rules: https://github.com/microsoft/FERPlus (MIT).
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path

from fer_edge.errors import DataError, LabelError
from fer_edge.labels import EMOTIONS_8, SOURCE_ORDERS, canonical
from fer_edge.training.data.dataset_spec import SPLIT_NAMES

NAMES = SOURCE_ORDERS["ferplus"]
FILE = "fer2013new.csv"
_NO_EXPRESSION = ("unknown", "not a face")


def without_outliers(votes: Sequence[int]) -> list[int]:
    """Votes without names that a single person chose, as FER+'s own script takes them."""
    return [count if count > 1 else 0 for count in votes]


def majority(votes: Sequence[int]) -> str | None:
    """The name with more than half of the votes; None without one, or if it is no expression.

    FER+'s own rule (``majority`` in its ferplus.py): single votes do not count.
    """
    counted = without_outliers(votes)
    most = max(counted)
    name = NAMES[counted.index(most)]
    return None if 2 * most <= sum(counted) or name in _NO_EXPRESSION else name


def distribution(votes: Sequence[int], labels: Sequence[str]) -> tuple[float, ...] | None:
    """Shares of the votes, ``[classes]`` in the order of labels, 1 in all.

    Single votes do not count, nor those for other names. None if most people saw no expression,
    or none of these.
    """
    counted = dict(zip(NAMES, without_outliers(votes), strict=True))
    if max(counted.values()) == max(counted[name] for name in _NO_EXPRESSION):
        return None
    shares = [counted.get(label, 0) for label in labels]
    return tuple(share / sum(shares) for share in shares) if sum(shares) else None


def most_voted(votes: Sequence[int]) -> str | None:
    """The name with the highest share of ``distribution``; of equal ones the first in FER+."""
    names = [name for name in NAMES if name in EMOTIONS_8]
    shares = distribution(votes, names)
    return None if shares is None else names[shares.index(max(shares))]


def vote_columns(columns: Iterable[str], where: object) -> list[str]:
    """The columns that hold the votes, in the order of NAMES, however they are spelt.

    Raises DataError, naming it, if one is missing.
    """
    columns = list(columns)
    return [_column(name, columns, where) for name in NAMES]


def _column(name: str, columns: list[str], where: object) -> str:
    for column in columns:
        spelt = column.strip().lower().removeprefix("ferplus_").replace("_", " ")
        if spelt == name or (name == "not a face" and spelt == "nf"):
            return column
        try:
            if canonical(spelt) == name:
                return column
        except LabelError:
            continue
    raise DataError(f"{where} has FER+ columns, but none for {name!r}: {', '.join(columns)}")


def read_votes(path: Path) -> list[tuple[str, tuple[int, ...]]]:
    """Part ("train", "val", "test") and votes of each row of fer2013new.csv.

    Columns: Usage, Image name (empty for what is no face), then the votes; its rows are those of
    fer2013.csv in the same order (FERPlus README). Raises DataError if it is something else.
    """
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        rows = csv.DictReader(file, skipinitialspace=True)
        names = {name.strip().lower(): name for name in rows.fieldnames or ()}
        if "usage" not in names:
            raise DataError(f"expected FER+'s columns Usage, neutral, … in {path}, got {names}")
        order = vote_columns([n for key, n in names.items() if key != "image name"], path)
        try:
            return [
                (
                    SPLIT_NAMES[row[names["usage"]].strip().lower()],
                    tuple(int(row[column]) for column in order),
                )
                for row in rows
            ]
        except (KeyError, ValueError, TypeError, AttributeError) as error:
            raise DataError(f"{path}, line {rows.line_num}: not a row of FER+: {error}") from error
