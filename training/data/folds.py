"""Folds of a data set, by the hash of each picture's name."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass

from fer_edge.errors import DataError, InputError
from fer_edge.shown import shown
from fer_edge.training.data.faces import LabelledFace

MOST_FOLDS = 100
"""Largest number of folds."""


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

    def of(self, faces: Sequence[LabelledFace]) -> list[LabelledFace]:
        """Return the faces of this fold, in order. Raises DataError if there are none."""
        chosen = [face for face in faces if fold_of(face.name, self.folds) == self.number]
        if not chosen:
            raise DataError(f"fold {self} of {len(faces)} pictures is empty. Use fewer folds")
        return chosen


def fold_of(name: str, count: int) -> int:
    """Return the fold of a picture, 0 to ``count`` - 1.

    It is the SHA-256 of the name, modulo the number of folds. It depends on nothing else: training
    and evaluation agree on the faces that are held out, on every machine.

    Args:
        name: Name of the picture in its data set.
        count: Number of folds.
    """
    return int(hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest(), 16) % count
