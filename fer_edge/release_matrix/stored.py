"""Stored release matrix: one JSON per version, written after each cell."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from packaging.version import InvalidVersion, Version

from fer_edge.atomic import write_file
from fer_edge.errors import DataError
from fer_edge.json_check import (
    read_list,
    read_mapping,
    read_object,
    read_optional,
    read_positive,
    read_text,
)
from fer_edge.lock import locked
from fer_edge.plain_file import read_plain
from fer_edge.release_matrix.cell import Cell
from fer_edge.shown import printable, shown

SCHEMA = 1
_MOST_BYTES = 64 << 20
"""Largest file. 300 cells take about 2 MB without latencies, each up to 400 KB with them."""


@dataclass(frozen=True)
class Comparison:
    """Comparison with the matrix of an earlier version.

    Attributes:
        version: Version of the earlier matrix.
        regressions: Cells that got worse, a sentence each.
        not_compared: Cells of the earlier matrix that this one cannot be held against.
        notes: Figures that were left out of the comparison.
    """

    version: str
    regressions: tuple[str, ...] = ()
    not_compared: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @classmethod
    def parse(cls, value: Any, where: str) -> Comparison:
        """Read the JSON form strictly; see ParityReport.parse."""
        lists = ("regressions", "not_compared", "notes")
        item = read_object(value, where, ("version", *lists))
        return cls(
            read_text(item["version"], f"{where}.version"),
            *(read_list(item[name], f"{where}.{name}", read_text) for name in lists),
        )


@dataclass(frozen=True)
class Matrix:
    """Release matrix of one version.

    Attributes:
        version: Version of the package.
        conditions: Settings and machine of each run, for readers, with the names of the ``cells``
            that it graded.
        cells: Cells, in the order of models and targets.
        unfinished: Names of the cells that a run was to grade and did not, because it ended early.
        comparison: Comparison with an earlier version; None before the end, or without one.
    """

    version: str
    conditions: tuple[Mapping[str, Any], ...] = ()
    cells: tuple[Cell, ...] = ()
    unfinished: tuple[str, ...] = ()
    comparison: Comparison | None = None

    def cell(self, key: tuple[str, str, str]) -> Cell | None:
        """Return the cell of a model, target and precision, or None."""
        return next((cell for cell in self.cells if cell.key == key), None)

    def with_cell(self, cell: Cell) -> Matrix:
        """Return the matrix with a cell replaced or added.

        Cells of an earlier checkpoint of the same model are dropped: a page shows one of them.
        """
        others = [
            other
            for other in self.cells
            if other.key != cell.key
            and (other.model != cell.model or other.identity.checkpoint == cell.identity.checkpoint)
        ]
        return replace(self, cells=(*others, cell))

    def graded_under(self, conditions: Mapping[str, Any], graded: Sequence[Cell]) -> Matrix:
        """Return the matrix with the conditions under which cells were graded.

        Earlier runs keep their other cells; a run without any is dropped.

        Args:
            conditions: Settings and machine of this run.
            graded: Cells that this run graded.
        """
        own = [cell.name for cell in graded]
        others = {cell.name for cell in self.cells} - set(own)
        runs = [
            {**run, "cells": [name for name in run["cells"] if name in others]}
            for run in self.conditions
        ]
        runs.append({**conditions, "cells": own})
        return replace(self, conditions=tuple(run for run in runs if run["cells"]))

    def sorted_by(self, models: Sequence[str], pairs: Sequence[tuple[str, str]]) -> Matrix:
        """Return the matrix with its cells in the order of models, then of pairs."""

        def rank(cell: Cell) -> tuple[int, int]:
            pair = cell.target, cell.precision
            model = models.index(cell.model) if cell.model in models else len(models)
            return model, pairs.index(pair) if pair in pairs else len(pairs)

        return replace(self, cells=tuple(sorted(self.cells, key=rank)))

    def as_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        comparison = self.comparison
        return {
            "schema": SCHEMA,
            "version": self.version,
            "conditions": [dict(run) for run in self.conditions],
            "unfinished": list(self.unfinished),
            "comparison": None if comparison is None else dict(vars(comparison)),
            "cells": [cell.as_dict() for cell in self.cells],
        }

    @classmethod
    def parse(cls, value: Any) -> Matrix:
        """Read the JSON form strictly; see ParityReport.parse."""
        keys = ("schema", "version", "conditions", "unfinished", "comparison", "cells")
        item = read_object(value, "matrix", keys)
        if item["schema"] != SCHEMA:
            raise ValueError(f"expected schema {SCHEMA}, got {str(item['schema'])[:40]!r}")
        cells = read_list(item["cells"], "matrix.cells", Cell.parse)
        if len({cell.key for cell in cells}) < len(cells):
            raise ValueError("expected each cell once in matrix.cells")
        return cls(
            printable(read_text(item["version"], "matrix.version")),
            read_list(item["conditions"], "matrix.conditions", _read_conditions),
            cells,
            read_list(item["unfinished"], "matrix.unfinished", read_text),
            read_optional(item, "comparison", "matrix", Comparison.parse),
        )


def _read_conditions(value: Any, where: str) -> Mapping[str, Any]:
    run = read_object(value, where, ("cells",), tuple(_READERS))
    read = {name: _READERS[name](run[name], f"{where}.{name}") for name in run if name != "cells"}
    return {**read, "cells": list(read_list(run["cells"], f"{where}.cells", read_text))}


def _read_texts(value: Any, where: str) -> dict[str, str]:
    texts = read_mapping(value, where)
    return {name: read_text(text, f"{where}.{shown(name)}") for name, text in texts.items()}


_READERS: dict[str, Callable[[Any, str], Any]] = {
    **dict.fromkeys(("command", "time", "machine", "system", "python"), read_text),
    **dict.fromkeys(("libraries", "faces"), _read_texts),
    **dict.fromkeys(("budget_s", "judge_seconds", "latency_factor"), read_positive),
}
"""Readers of a run's conditions besides its cells, by key."""


def load(path: Path) -> Matrix:
    """Read a stored matrix.

    Raises:
        DataError: The file is not a release matrix, or is damaged.
    """
    try:
        return Matrix.parse(json.loads(read_plain(path, _MOST_BYTES, pipes=True).decode("utf-8")))
    except OSError as error:
        raise DataError(
            f"cannot read the release matrix {path}: {error.strerror}. Name another file with "
            "--against, or another folder with -o"
        ) from error
    except (ValueError, RecursionError, OverflowError) as error:
        reason = "it is not JSON" if isinstance(error, json.JSONDecodeError) else error
        raise DataError(
            f"expected {path} to be a release matrix of fer-edge matrix --release, but {reason}. "
            "Restore it, or move it away and run again"
        ) from error


def change(path: Path, edit: Callable[[Matrix], Matrix], version: str) -> Matrix:
    """Change a stored matrix in one step; another process may change other cells meanwhile.

    Args:
        path: Path of the JSON; it may be missing.
        edit: Returns the new matrix.
        version: Version of a new matrix.

    Raises:
        DataError: The file is damaged or cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with locked(path):
            matrix = edit(load(path) if path.exists() else Matrix(version))
            write(path, _text(matrix))
    except OSError as error:
        raise DataError(f"cannot write {path}: {error.strerror}. Choose another -o") from error
    return matrix


def _text(matrix: Matrix) -> str:
    """Return the JSON with a line for each cell, for readable diffs."""
    item = matrix.as_dict()
    cells = [json.dumps(cell, separators=(",", ":"), allow_nan=False) for cell in item["cells"]]
    head = json.dumps(item | {"cells": []}, indent=1, allow_nan=False)
    lines = ",\n".join(cells)
    return head.removesuffix("[]\n}") + (f"[\n{lines}\n]" if cells else "[]") + "\n}\n"


def write(path: Path, text: str) -> None:
    """Write a file in one step. Raises DataError."""
    try:
        write_file(path, text.encode())
    except OSError as error:
        raise DataError(f"cannot write {path}: {error.strerror}. Choose another -o") from error


def earlier(folder: Path, version: str) -> Path | None:
    """Return the JSON of the latest version before ``version`` in a folder, or None."""
    stored: dict[Version, Path] = {}
    for path in folder.glob("*.json"):
        with contextlib.suppress(InvalidVersion):
            stored[Version(path.stem)] = path
    before = [each for each in stored if each < Version(version)]
    return stored[max(before)] if before else None
