"""Folds of a data set, by the hash of each picture's name."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from fer_edge.errors import DataError, InputError
from fer_edge.shown import shown

MOST_FOLDS = 100
"""Largest number of folds."""


class _Named(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def unnamed(self) -> bool: ...


_Face = TypeVar("_Face", bound=_Named)


@dataclass(frozen=True)
class Fold:
    """One fold of a data set.

    Attributes:
        number: Number of the fold, from 0.
        folds: Number of folds.
    """

    number: int
    folds: int

    @staticmethod
    def parse(text: str) -> Fold:
        """Parse ``0/3``, the first of three folds. Raises InputError."""
        match = re.fullmatch(r"([0-9]{1,3})/([0-9]{1,3})", text)
        fold = Fold(*map(int, match.groups())) if match else None
        if fold is None or not 0 <= fold.number < fold.folds <= MOST_FOLDS:
            raise InputError(
                f"expected a fold such as 0/3, the first of three, got {shown(text)}. Folds count "
                f"from 0, and there are at most {MOST_FOLDS}"
            )
        return fold

    def __str__(self) -> str:
        return f"{self.number}/{self.folds}"

    def of(self, faces: Sequence[_Face], path: str = "") -> list[_Face]:
        """Return the faces of this fold, in order. Raises DataError if there are none.

        Args:
            faces: Faces of one data set.
            path: Path of the data set, see ``name_within``.
        """
        chosen = [face for face in faces if self._holds(face, path)]
        if not chosen:
            raise DataError(f"fold {self} of {len(faces)} pictures is empty. Use fewer folds")
        return chosen

    def without(self, faces: Sequence[_Face], path: str = "") -> list[_Face]:
        """Return the faces of all other folds, in order; arguments as for ``of``."""
        return [face for face in faces if not self._holds(face, path)]

    def _holds(self, face: _Named, path: str) -> bool:
        name = name_within(path, face.name) if face.unnamed else face.name
        return fold_of(name, self.folds) == self.number


def name_within(path: str, name: str) -> str:
    """Return the path of a picture within its data set.

    Pictures without a name are named by their path. The fold must not depend on the folder in which
    the data set lies on a machine.

    Args:
        path: Path of the data set.
        name: Path of the picture; it begins with ``path`` as ``pathlib`` writes it.
    """
    for start in (f"{Path(path)}{end}" for end in (os.sep, ":")):
        if name.startswith(start):
            return name[len(start) :].replace(os.sep, "/")
    return name


def fold_of(name: str, count: int) -> int:
    """Return the fold of a picture, 0 to ``count`` - 1.

    It is the SHA-256 of the name, modulo the number of folds. It depends on nothing else: training
    and evaluation agree on the faces that are held out, on every machine.

    Args:
        name: Name of the picture in its data set.
        count: Number of folds.
    """
    return int(hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest(), 16) % count
