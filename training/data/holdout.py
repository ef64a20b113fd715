"""From a data set to what one run trains on, and what it holds out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from fer_edge.errors import DataError, MissingPartError
from fer_edge.progress import Say, Step
from fer_edge.training.config.schema import Recipe
from fer_edge.training.data import faces as faces_of
from fer_edge.training.data.dataset_spec import DatasetSpec, DatasetSpecs, as_dataset_specs
from fer_edge.training.data.faces import LabelledFace
from fer_edge.training.data.partition import groups_of, partition

"""Progress: what is running, how far it is, how far it goes."""


@dataclass(frozen=True)
class Split:
    """The training rows after twins of the validation pictures were dropped, and the held-out."""

    train: list[LabelledFace]
    held: list[LabelledFace]
    dropped: int
    fingerprint: str
    sources: tuple[str, ...] = ()

    def facts(self) -> dict[str, Any]:
        """What is recorded of the data in run.json and the card."""
        return {
            "sources": list(self.sources),
            "fingerprint": self.fingerprint,
            "train_faces": len(self.train),
            "held_out_faces": len(self.held),
            "dropped_twins": self.dropped,
        }


def split_data(
    recipe: Recipe, given: DatasetSpecs, step: Step, say: Say = lambda text: None
) -> Split:
    """Merge the sources' ``train``, drop twins of any ``val``, and hold a part out.

    A source may contribute train, val or both. A broken picture is an error, or left out and
    said where its source is taken with ``broken=skip``. Where subjects are known, whole subjects
    are held out. Raises DataError, MissingPartError, LabelError.
    """
    sources = as_dataset_specs(given)
    faces, hashes, missing = _parts(sources, "train", recipe.labels, say, step)
    if not faces:
        raise missing[0]
    judged, exam, _ = _parts(sources, "val", recipe.labels, say, step)
    kept, kept_hashes = faces_of.without_twins(faces, hashes, exam)
    named = ", ".join(source.path for source in sources)
    if not kept:
        raise DataError(f"no face of {named} is left to train on: all are in its val part too")
    if both := {f.subject for f in kept if f.subject} & {f.subject for f in judged}:
        say(f"{len(both)} subject(s) stand in train and in val: val will flatter this model")
    held = _held_out(kept, kept_hashes, recipe)
    train = [f for i, f in enumerate(kept) if i not in held]
    if lonely := sorted({f.label for f in kept} - {f.label for f in train}):
        raise DataError(
            f"expected at least 2 distinct pictures of each class, one to train on and one to hold "
            f"out; {named} has a single one (or subject) of {', '.join(lonely)}"
        )
    return Split(
        train=train,
        held=[f for i, f in enumerate(kept) if i in held],
        dropped=len(faces) - len(kept),
        fingerprint=faces_of.fingerprint(kept, kept_hashes),
        sources=tuple(source.described for source in sources),
    )


def _parts(
    sources: Sequence[DatasetSpec], part: str, labels: Sequence[str], say: Say, step: Step
) -> tuple[list[LabelledFace], list[str], list[MissingPartError]]:
    """Readable faces of every source that has this part, their hashes, and who has none."""
    faces: list[LabelledFace] = []
    hashes: list[str] = []
    missing = []
    for source in sources:
        whole = replace(source, broken="fail")  # looked at here, once
        try:
            found = faces_of.load_faces(whole, part, labels, say, step)
        except MissingPartError as error:
            missing.append(error)
            continue
        kept, kept_hashes = faces_of.readable_faces(found, source.broken, say, step)
        faces += kept
        hashes += kept_hashes
    return faces, hashes, missing


def _held_out(faces: Sequence[LabelledFace], hashes: Sequence[str], recipe: Recipe) -> set[int]:
    labels, share = [face.label for face in faces], recipe.data.holdout
    if not any(face.subject for face in faces):
        return set(faces_of.hold_out(hashes, labels, share, recipe.seed))
    groups = groups_of(faces, hashes, "subject")
    sides = partition(groups, labels, (1 - share, share), recipe.seed)
    return {i for i, side in enumerate(sides) if side == 1}
