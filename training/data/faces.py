"""Faces with labels, from every form in which FER data sets come. Names decide, never indices."""

from __future__ import annotations

import csv
import hashlib
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fer_edge.errors import DataError, InputError, LabelError
from fer_edge.labels import label_of_number
from fer_edge.preprocess import Box, Image, as_bgr, crop, decode_image, read_image
from fer_edge.progress import Say, Step, silent
from fer_edge.training.data import ferplus
from fer_edge.training.data import formats as sources
from fer_edge.training.data.dataset_spec import SPLITS, Broken, DatasetSpec, StoredFace, spelt
from fer_edge.training.data.lazy_rows import LazyRow

_LISTED = 5
"""Broken pictures that an error names; the rest is counted."""


@dataclass(frozen=True, slots=True)
class LabelledFace:
    """One labelled picture: an image file's path, the encoded bytes, or a row of a large file.

    label: canonical name, or a class of the user's own. votes: FER+ votes in the order of
    SOURCE_ORDERS["ferplus"], or None. subject, clip: who is seen, and in which recording, or None.
    box: the face in the picture; None is all of it. soft: the votes are the target, not the label.
    """

    source: Path | bytes | LazyRow
    label: str
    name: str
    votes: tuple[int, ...] | None = None
    subject: str | None = None
    clip: str | None = None
    box: Box | None = None
    soft: bool = False

    def read(self) -> Image:
        """The picture, uint8 BGR ``[H, W, 3]``. Raises DataError, naming the face, if broken."""
        try:
            stored = self.source.read() if isinstance(self.source, LazyRow) else self.source
            if isinstance(stored, Path):
                image = read_image(stored)
            elif isinstance(stored, bytes):
                image = decode_image(stored, self.name)
            else:
                image = as_bgr(stored)
            return image if self.box is None else crop(image, self.box)
        except InputError as error:
            where = "" if self.name in str(error) else f"{self.name}: "
            raise DataError(f"{where}{error}") from error

    def target(self, labels: Sequence[str]) -> list[float]:
        """What a network should answer, ``[classes]``, 1 in all: the label, or the votes' shares
        where they are the target."""
        if self.soft and self.votes is not None:
            shares = ferplus.distribution(self.votes, labels)
            if shares is not None:
                return list(shares)
        return [float(name == self.label) for name in labels]


def load_faces(
    source: str | Path | DatasetSpec,
    split: str | None = None,
    labels: Sequence[str] | None = None,
    say: Say = lambda text: warnings.warn(text, stacklevel=3),
    step: Step = silent,
) -> list[LabelledFace]:
    """Read a data set's index (pictures stay encoded, or on disk, until they are used).

    source: a path of any form in ``sources.FORMATS``, with options behind an @ (see DatasetSpec).
    split: ``train``, ``val`` or ``test``; None takes a source that has no splits, or one file,
    whole.
    labels: the names that the model knows; a face with another one is an error. Classes of the
    user's own are only known from here.
    say: told of what is left out.

    Raises MissingPartError (no such split), DataError (missing, empty, unreadable), LabelError (a
    name that is not an emotion, or numbers without an order).
    """
    source = DatasetSpec.parse(source)
    if split is not None and split not in SPLITS:
        raise DataError(f"expected split train, val or test, got {split!r}")
    try:
        found = []
        for one in sources.read(source, split):
            found.append(one)
            if len(found) % 5000 == 0:
                step("listing faces", len(found), len(found))
    except (OSError, csv.Error) as error:
        raise DataError(f"cannot read {source.path}: {error}") from error
    faces = _named(found, source, labels or (), say)
    if not faces:
        raise DataError(
            f"no faces found in {source.path}"
            + (f" for split {split!r}" if split else "")
            + f". Known forms: {', '.join(form.what for form in sources.FORMATS)}"
        )
    if labels is not None and (foreign := {face.label for face in faces} - set(labels)):
        raise LabelError(
            f"{source.path} holds {', '.join(sorted(foreign))}, but the model knows only "
            f"{', '.join(labels)}. Leave them out: {source.path}@drop={'/'.join(sorted(foreign))}"
        )
    return readable_faces(faces, "skip", say, step)[0] if source.broken == "skip" else faces


def _named(
    found: Sequence[StoredFace], source: DatasetSpec, labels: Sequence[str], say: Say
) -> list[LabelledFace]:
    """Faces with the model's names; without those that show no expression or are dropped."""
    names = spelt(found, labels)
    numbers = {f.label for f in found if isinstance(f.label, int)}
    if numbers and names:
        raise LabelError(
            f"{source.path} labels its pictures with numbers and with names: "
            f"{', '.join(map(str, sorted(numbers)))}; {', '.join(sorted(names))}"
        )
    if numbers:
        order = source.number_order()
        meant = {number: label_of_number(number, order) for number in sorted(numbers)}
        known = spelt([StoredFace(b"", name, "") for name in meant.values()], labels)
        by_number = {number: known[name] for number, name in meant.items()}
    dropped = spelt([StoredFace(b"", name, "") for name in source.drop], labels).values()
    left_out: Counter[str] = Counter()
    faces = []
    for f in found:
        label = by_number[f.label] if isinstance(f.label, int) else names.get(str(f.label))
        if source.labels != "own":
            if f.votes is None:
                raise DataError(f"{source.path} has no FER+ votes for {f.name}")
            pick = ferplus.majority if source.labels == "ferplus" else ferplus.most_voted
            label = pick(f.votes)
        if label is None or label in dropped:
            left_out[label or "no expression that most agree on"] += 1
            continue
        soft = source.labels == "ferplus-soft"
        faces.append(
            LabelledFace(f.picture, label, f.name, f.votes, f.subject, f.clip, f.box, soft)
        )
    if left_out:
        counts = ", ".join(f"{count:,} {label}" for label, count in sorted(left_out.items()))
        say(f"{source.path}: left out {counts}")
    return faces


@dataclass(frozen=True)
class BrokenPicture:
    """A picture that no network should see, and why."""

    name: str
    why: str

    def __str__(self) -> str:
        return self.why if self.name in self.why else f"{self.name} ({self.why})"


def hashed(
    faces: Sequence[LabelledFace],
    step: Step = silent,
    look: Callable[[Image], None] = lambda image: None,
) -> tuple[list[str | None], list[BrokenPicture]]:
    """``pixel_hash`` of each face, None for a broken or blank picture, and those pictures.

    look: shown every picture that is neither.
    """
    hashes: list[str | None] = []
    broken = []
    for i, face in enumerate(faces):
        digest = None
        try:
            image = face.read()
            if (image[0] == image[0, 0]).all() and (image == image[0, 0]).all():
                broken.append(BrokenPicture(face.name, "blank: every pixel is the same"))
            else:
                digest = hash_of(image)
                look(image)
        except DataError as error:
            broken.append(BrokenPicture(face.name, str(error)))
        hashes.append(digest)
        if i % 500 == 0 or i + 1 == len(faces):
            step("reading faces", i + 1, len(faces))
    return hashes, broken


def readable_faces(
    faces: Sequence[LabelledFace],
    broken: Broken,
    say: Say,
    step: Step = silent,
) -> tuple[list[LabelledFace], list[str]]:
    """The faces that can be read, and their hashes; each broken one is reported.

    Raises DataError, naming the pictures, if there are any and ``broken`` is ``fail``.
    """
    hashes, bad = hashed(faces, step)
    if bad:
        if broken == "fail":
            more = f"; and {len(bad) - _LISTED} more" if len(bad) > _LISTED else ""
            raise DataError(
                f"{len(bad)} of {len(faces)} pictures cannot be used: "
                + "; ".join(map(str, bad[:_LISTED]))
                + f"{more}. Mend or remove them, or leave them out with --broken skip"
            )
        for picture in bad:
            say(f"Left out: {picture}")
    kept = [(f, h) for f, h in zip(faces, hashes, strict=True) if h is not None]
    return [f for f, _ in kept], [h for _, h in kept]


def hash_of(image: Image) -> str:
    """SHA-256 of pixels and shape."""
    return hashlib.sha256(repr(image.shape).encode() + image.tobytes()).hexdigest()


def pixel_hash(face: LabelledFace) -> str:
    """SHA-256 of the decoded pixels and their shape: equal for twins in different files."""
    return hash_of(face.read())


def fingerprint(faces: Sequence[LabelledFace], hashes: Sequence[str]) -> str:
    """SHA-256 over every picture and its target, independent of file names and order."""
    lines = sorted(
        f"{h} {face.label}" + (f" {face.votes}" if face.soft else "")
        for face, h in zip(faces, hashes, strict=True)
    )
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def without_twins(
    faces: Sequence[LabelledFace], hashes: Sequence[str], others: Iterable[str]
) -> tuple[list[LabelledFace], list[str]]:
    """Faces, and their hashes, whose picture is not among ``others``."""
    known = set(others)
    kept = [(f, h) for f, h in zip(faces, hashes, strict=True) if h not in known]
    return [f for f, _ in kept], [h for _, h in kept]


def hold_out(hashes: Sequence[str], labels: Sequence[str], share: float, seed: int) -> list[int]:
    """Indices of a held-out part: stratified by label, seeded, twins never on both sides.

    At least one picture of each label, and of a picture that carries two labels both.
    """
    rng = np.random.default_rng(seed)
    held: set[str] = set()
    for label in sorted(set(labels)):
        pictures = sorted({h for h, own in zip(hashes, labels, strict=True) if own == label})
        count = max(1, round(share * len(pictures)))
        held.update(rng.choice(np.array(pictures), size=count, replace=False).tolist())
    return [i for i, h in enumerate(hashes) if h in held]


def stratified(faces: Sequence[LabelledFace], count: int, seed: int) -> list[LabelledFace]:
    """A seeded sample with the classes as evenly filled as the data allow."""
    rng = np.random.default_rng(seed)
    by_label: dict[str, list[LabelledFace]] = {}
    for face in sorted(faces, key=lambda f: f.name):
        by_label.setdefault(face.label, []).append(face)
    queues = [
        [group[i] for i in rng.permutation(len(group))] for _, group in sorted(by_label.items())
    ]
    picked: list[LabelledFace] = []
    while len(picked) < count and any(queues):
        for queue in queues:
            if queue and len(picked) < count:
                picked.append(queue.pop())
    return picked
