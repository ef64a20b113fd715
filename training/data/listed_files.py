"""Checks of the files that a list names.

They lie inside its folder, most exist, and few are listed twice.
"""

from __future__ import annotations

import os
from pathlib import Path

from fer_edge.errors import DataError
from fer_edge.training.data.bounds import MOST_EXPANSION
from fer_edge.training.data.dataset_spec import inside

_ALL_MISSING = 1000
"""Files that must not all be missing at the beginning of a list."""
_CHECK_EVERY = 10_000
"""Rows between two checks for repeated files."""


class ListedFiles:
    """Paths of the files that one list names.

    Args:
        root: Folder of the files; nothing outside is read.
        where: Name of the list, for messages.
    """

    def __init__(self, root: Path, where: object) -> None:
        self.root, self.where = root, where
        self.paths: dict[str, Path] = {}
        self.rows = self.there = 0

    def __getitem__(self, name: str) -> Path:
        """Return the path of a listed file, which may be missing.

        Raises:
            DataError: The file lies outside the folder, none of the first files exists, or the
                list names the same files again and again.
        """
        self.rows += 1
        if self.rows % _CHECK_EVERY == 0 and self.rows > MOST_EXPANSION * len(self.paths):
            raise DataError(
                f"{self.where} names the same {len(self.paths):,} files in {self.rows:,} rows. "
                "Remove the rows that repeat"
            )
        path = self.paths.get(name)
        if path is None:
            path = inside(self.root, name)
            there = os.path.exists(path)  # noqa: PTH110  (a third of Path.exists)
            if not there and name != name.rstrip():  # a file's name may end with a space
                path = inside(self.root, name.rstrip())
                there = path.exists()
            self.paths[name] = path
            self.there += there
            if self.there == 0 and len(self.paths) >= _ALL_MISSING:
                raise DataError(
                    f"none of the first {_ALL_MISSING:,} files of {self.where} is in {self.root}. "
                    "Put the pictures there, or write the list again"
                )
        return path
