"""Training faces of one run, and a part held out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from fer_edge.errors import DataError, LabelError, MissingPartError
from fer_edge.progress import Say, Step, say_nothing
from fer_edge.training.config.schema import Recipe
from fer_edge.training.data.dataset_spec import DatasetSpec, DatasetSpecs, as_dataset_specs
from fer_edge.training.data.faces import (
    LabelledFace,
    fingerprint,
    load_faces,
    readable_faces,
    without_duplicates,
)
from fer_edge.training.data.near_duplicates import Photographs
from fer_edge.training.data.partition import groups_of, partition, smallest_group
from fer_edge.training.data.parts import class_warning


@dataclass(frozen=True)
class Holdout:
    """Rule by which faces are held out.

    Attributes:
        share: Share (0..1) of each label's pictures or photographs, or of the subjects.
        seed: Seed of the choice.
        by: Unit that stays together if no subject is known: ``picture`` keeps pixel-identical
            copies together, ``photograph`` near duplicates too.
    """

    share: float
    seed: int
    by: Literal["picture", "photograph"] = "picture"

    @staticmethod
    def of(recipe: Recipe) -> Holdout:
        """Return the rule of a recipe."""
        return Holdout(recipe.data.holdout, recipe.seed, recipe.data.holdout_by)

    @staticmethod
    def stated(facts: Mapping[str, Any]) -> Holdout | None:
        """Return the rule that a card states, or None.

        A network is surer on the faces that it learnt from than on others.

        Args:
            facts: Facts of a checkpoint's card.
        """
        recipe = facts.get("recipe")
        data = recipe.get("data") if isinstance(recipe, dict) else None
        if not isinstance(recipe, dict) or not isinstance(data, dict):
            return None
        share, seed = data.get("holdout"), recipe.get("seed")
        if not isinstance(share, float) or not 0 < share < 1 or not isinstance(seed, int):
            return None
        # Cards of older versions lack the key; they held out by picture.
        by = data.get("holdout_by")
        return Holdout(share, seed, "photograph" if by == "photograph" else "picture")


@dataclass(frozen=True)
class Unlabelled:
    """Faces without labels that a run trains on.

    Attributes:
        faces: The faces; none of them is held out.
        dropped: Faces dropped as duplicates of validation pictures or held-out faces, or because
            the subject or clip is held out or in validation.
        fingerprint: SHA-256 over all pictures.
        sources: Data sets by name and options.
    """

    faces: list[LabelledFace]
    dropped: int
    fingerprint: str
    sources: tuple[str, ...]

    def facts(self) -> dict[str, Any]:
        """Return the record for run.json and the model card."""
        return {
            "sources": list(self.sources),
            "fingerprint": self.fingerprint,
            "faces": len(self.faces),
            "dropped": self.dropped,
        }


@dataclass(frozen=True)
class Split:
    """Faces of a training run.

    Attributes:
        train: Training faces, without duplicates of validation pictures.
        held_out: Faces that select the best epoch and fit the temperature.
        dropped: Training faces dropped as duplicates of validation pictures.
        fingerprint: SHA-256 over all pictures and targets of both parts.
        sources: Data sets by name and options.
        unlabelled: Further training faces, without labels; or None.
    """

    train: list[LabelledFace]
    held_out: list[LabelledFace]
    dropped: int
    fingerprint: str
    sources: tuple[str, ...] = ()
    unlabelled: Unlabelled | None = None

    @property
    def learnt(self) -> list[LabelledFace]:
        """All faces to train on: the labelled ones, then those without labels."""
        return [*self.train, *(self.unlabelled.faces if self.unlabelled else ())]

    @property
    def identity(self) -> str:
        """Fingerprint of all faces, those without labels included."""
        if self.unlabelled is None:
            return self.fingerprint
        return f"{self.fingerprint} {self.unlabelled.fingerprint}"

    def facts(self) -> dict[str, Any]:
        """Return the record of the data for run.json and the model card."""
        unlabelled = {} if self.unlabelled is None else {"unlabelled": self.unlabelled.facts()}
        return {
            "sources": list(self.sources),
            "fingerprint": self.fingerprint,
            "train_faces": len(self.train),
            "held_out_faces": len(self.held_out),
            "dropped_twins": self.dropped,  # the key in cards that are already published
            **unlabelled,
        }


def split_data(
    sources: DatasetSpecs,
    labels: Sequence[str],
    rule: Holdout,
    step: Step,
    say: Say = say_nothing,
    *,
    unlabelled: Sequence[str | DatasetSpec] = (),
) -> Split:
    """Merge train parts, drop duplicates, and hold a part out.

    Duplicates of faces in any val part are dropped.

    A data set may contribute train, val or both. If subjects or clips are known, complete ones
    are held out, and at least one.

    Args:
        sources: Data sets to merge.
        labels: Labels of the network.
        rule: Faces to hold out.
        step: Reports progress.
        say: Reports faces that are left out, classes without faces, and subjects and clips
            that are in train and in val.
        unlabelled: Data sets whose train parts are read without labels. Their faces are only
            trained on.

    Returns:
        The training faces and the held-out faces.

    Raises:
        MissingPartError: No data set has a train part.
        DataError: A data set or picture cannot be read, a class has too few pictures, or all faces
            are of one subject or clip.
        LabelError: A label is unknown, or there is one label alone.
    """
    if len(labels) < 2:
        raise LabelError(
            f"expected at least two labels to tell apart, got {', '.join(labels) or 'none'}. Add "
            "faces of another class; if the recipe lists its labels, name the class there"
        )
    specs = as_dataset_specs(sources)
    faces, hashes, missing = _readable_part(specs, "train", labels, say, step)
    if not faces and missing:
        raise missing[0]
    if not faces:
        raise DataError(
            f"no face of {', '.join(spec.path for spec in specs)} can be read. Run fer-edge data "
            "summary for the reasons"
        )
    if warning := class_warning(faces, labels):
        say(warning)
    validation, validation_hashes, _ = _readable_part(specs, "val", labels, say, step)
    unique, unique_hashes = without_duplicates(faces, hashes, validation_hashes)
    names = ", ".join(spec.path for spec in specs)
    if not unique:
        raise DataError(
            f"no face of {names} is left to train on: all are in its val part too. Add training "
            "data with --data"
        )
    if shared := _origins(unique) & _origins(validation):
        say(
            f"{len(shared)} subject(s) or clip(s) are in train and in val: scores on val will be "
            "too high. Split by subject with 'fer-edge data split --by subject'"
        )
    held_out = _held_out_indices(unique, unique_hashes, rule, step)
    train = [face for i, face in enumerate(unique) if i not in held_out]
    if lonely := sorted({face.label for face in unique} - {face.label for face in train}):
        raise DataError(
            f"expected at least 2 distinct pictures of each class, one to train on and one to hold "
            f"out; {names} has a single one (photograph or subject) of {', '.join(lonely)}"
        )
    split = Split(
        train=train,
        held_out=[face for i, face in enumerate(unique) if i in held_out],
        dropped=len(faces) - len(unique),
        fingerprint=fingerprint(unique, unique_hashes),
        sources=tuple(spec.described for spec in specs),
    )
    if not unlabelled:
        return split
    more = [replace(DatasetSpec.parse(source), labels="none") for source in unlabelled]
    if all(spec.broken == "skip" for spec in specs):
        more = [replace(spec, broken="skip") for spec in more]
    known = {*validation_hashes, *(unique_hashes[i] for i in held_out)}
    origins = _origins((*split.held_out, *validation))
    return replace(split, unlabelled=_without_labels(more, known, origins, say, step))


def hold_out(hashes: Sequence[str], labels: Sequence[str], share: float, seed: int) -> list[int]:
    """Choose a held-out part, stratified by label; duplicates stay on one side.

    At least one picture of each label is held out. A picture with two labels is held out with both.

    Args:
        hashes: Pixel hash of each face.
        labels: Label of each face.
        share: Share (0..1) of each label's distinct pictures.
        seed: Seed of the choice.

    Returns:
        Indices of the held-out faces, ascending.
    """
    rng = np.random.default_rng(seed)
    chosen: set[str] = set()
    for label in sorted(set(labels)):
        pictures = sorted({h for h, own in zip(hashes, labels, strict=True) if own == label})
        count = max(1, round(share * len(pictures)))
        chosen.update(rng.choice(np.array(pictures), size=count, replace=False).tolist())
    return [i for i, h in enumerate(hashes) if h in chosen]


def hold_out_photographs(
    hashes: Sequence[str],
    labels: Sequence[str],
    share: float,
    seed: int,
    photograph: Callable[[str], set[str]],
    step: Step,
) -> list[int]:
    """Choose a held-out part, stratified by label; copies of a photograph stay on one side.

    At least one photograph of each label is held out. Only photographs that are drawn are asked
    for, because the search for copies takes long.

    Args:
        hashes: Pixel hash of each face.
        labels: Label of each face.
        share: Share (0..1) of each label's distinct pictures.
        seed: Seed of the choice.
        photograph: Returns the hashes of all copies of a picture, itself included.
        step: Reports progress.

    Returns:
        Indices of the held-out faces, ascending.
    """
    rng = np.random.default_rng(seed)
    chosen: set[str] = set()
    names = sorted(set(labels))
    for number, label in enumerate(names):
        pictures = sorted({h for h, own in zip(hashes, labels, strict=True) if own == label})
        own, enough = set(pictures), max(1, round(share * len(pictures)))
        for digest in rng.permutation(np.array(pictures)).tolist():
            if len(own & chosen) >= enough:
                break
            copies = photograph(digest)
            # Drawn by its first copy alone: ten copies must not make it ten times as likely.
            if digest == min(own & copies):
                chosen |= copies
        step("looking for copies of held-out faces", number + 1, len(names))
    return [i for i, h in enumerate(hashes) if h in chosen]


def _without_labels(
    specs: Sequence[DatasetSpec],
    known: set[str],
    origins: set[tuple[str, str]],
    say: Say,
    step: Step,
) -> Unlabelled:
    """Return the train parts without the pictures, subjects and clips of other parts.

    Raises DataError if no face is left.
    """
    faces, hashes, missing = _readable_part(specs, "train", None, say, step)
    if missing:
        raise missing[0]
    unique, unique_hashes = without_duplicates(faces, hashes, known)
    pairs = [
        (face, digest)
        for face, digest in zip(unique, unique_hashes, strict=True)
        if origins.isdisjoint(_origins([face]))
    ]
    kept = [face for face, _ in pairs]
    if not kept:
        raise DataError(
            f"no face of {', '.join(spec.path for spec in specs)} is left to train on. Name other "
            "faces in data.unlabelled"
        )
    return Unlabelled(
        faces=kept,
        dropped=len(faces) - len(kept),
        fingerprint=fingerprint(kept, [digest for _, digest in pairs]),
        sources=tuple(spec.described for spec in specs),
    )


def _origins(faces: Iterable[LabelledFace]) -> set[tuple[str, str]]:
    """Return the subjects of faces, and the clips of those whose subject is not known."""
    named = [
        ("subject", face.subject) if face.subject else ("clip", face.clip or "") for face in faces
    ]
    return {(kind, name) for kind, name in named if name}


def _readable_part(
    specs: Sequence[DatasetSpec], part: str, labels: Sequence[str] | None, say: Say, step: Step
) -> tuple[list[LabelledFace], list[str], list[MissingPartError]]:
    """Return one part's readable faces, their hashes, and errors.

    Each set without the part has an error.
    """
    faces: list[LabelledFace] = []
    hashes: list[str] = []
    missing = []
    for spec in specs:
        # load_faces must not read the pictures too: readable_faces reads each one once.
        unchecked = replace(spec, broken="fail")
        try:
            loaded = load_faces(unchecked, part, labels, say, step)
        except MissingPartError as error:
            missing.append(error)
            continue
        readable, readable_hashes = readable_faces(
            loaded, spec.broken, say, step, skip=spec.skipping
        )
        faces += readable
        hashes += readable_hashes
    return faces, hashes, missing


def _held_out_indices(
    faces: Sequence[LabelledFace], hashes: Sequence[str], rule: Holdout, step: Step
) -> set[int]:
    labels = [face.label for face in faces]
    if any(face.subject or face.clip for face in faces):
        groups = groups_of(faces, hashes, "subject")
        if len(set(groups)) < 2:
            raise DataError(
                "expected faces of at least two subjects or clips, got one. Add faces of others "
                "with --data, or remove the columns subject and clip: then single pictures are "
                "held out"
            )
        sides = partition(groups, labels, (1 - rule.share, rule.share), rule.seed)
        chosen = {i for i, side in enumerate(sides) if side == 1}
        # A share below half of every group fills no group: all of them would be trained on.
        return chosen or set(smallest_group(groups, labels, rule.seed))
    if rule.by == "picture":
        return set(hold_out(hashes, labels, rule.share, rule.seed))
    photographs = Photographs(dict(zip(hashes, faces, strict=True)), step)
    return set(hold_out_photographs(hashes, labels, rule.share, rule.seed, photographs.of, step))
