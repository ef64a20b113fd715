"""From a data set to what one run trains on, and what it holds out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fer_edge.errors import DataError, MissingPartError
from fer_edge.training import data as faces_of
from fer_edge.training.data import Face
from fer_edge.training.recipe import Recipe

Say = Callable[[str], None]
Step = Callable[[str, int, int], None]
"""Progress: what is running, how far it is, how far it goes."""


@dataclass(frozen=True)
class Split:
    """The training rows after twins of the validation pictures were dropped, and the held-out."""

    train: list[Face]
    held: list[Face]
    dropped: int
    fingerprint: str

    def facts(self) -> dict[str, Any]:
        """What is recorded of the data in run.json and the card."""
        return {
            "fingerprint": self.fingerprint,
            "train_faces": len(self.train),
            "held_out_faces": len(self.held),
            "dropped_twins": self.dropped,
        }


def split_data(recipe: Recipe, source: str | Path, step: Step) -> Split:
    """Load ``train``, drop twins of ``val`` where the source has one, and hold a part out."""
    faces = faces_of.load_faces(source, "train", recipe.labels)
    try:
        exam = faces_of.load_faces(source, "val", recipe.labels)
    except MissingPartError:
        exam = []  # a source without a val part: nothing to keep out
    hashes = []
    for i, face in enumerate([*faces, *exam]):
        hashes.append(faces_of.pixel_hash(face))
        if i % 500 == 0:
            step("reading faces", i, len(faces) + len(exam))
    kept, kept_hashes = faces_of.without_twins(faces, hashes[: len(faces)], hashes[len(faces) :])
    if not kept:
        raise DataError(f"no face of {source} is left to train on: all are in its val part too")
    held = set(
        faces_of.hold_out(kept_hashes, [f.label for f in kept], recipe.data.holdout, recipe.seed)
    )
    train = [f for i, f in enumerate(kept) if i not in held]
    if lonely := sorted({f.label for f in kept} - {f.label for f in train}):
        raise DataError(
            f"expected at least 2 distinct pictures of each class, one to train on and one to hold "
            f"out; {source} has a single one of {', '.join(lonely)}"
        )
    return Split(
        train=train,
        held=[f for i, f in enumerate(kept) if i in held],
        dropped=len(faces) - len(kept),
        fingerprint=faces_of.fingerprint(kept, kept_hashes),
    )
