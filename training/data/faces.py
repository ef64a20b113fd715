"""Labelled faces from every supported format, matched by label name."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from fer_edge.errors import DataError, InputError, LabelError, next_step
from fer_edge.preprocess import Box, Image, as_bgr, crop, decode_image, read_image
from fer_edge.progress import Say, Step, silent
from fer_edge.shown import shown
from fer_edge.training.data import ferplus, formats
from fer_edge.training.data.dataset_spec import (
    SPLITS,
    Broken,
    DatasetSpec,
    StoredFace,
    column_named,
)
from fer_edge.training.data.folds import Fold
from fer_edge.training.data.label_names import match_labels
from fer_edge.training.data.lazy_rows import LazyRow
from fer_edge.training.data.own_labels import set_labels
from fer_edge.training.data.picture_files import PassedOver

_LISTED = 5
"""Broken pictures that an error names; the others are counted."""


@dataclass(frozen=True, slots=True)
class LabelledFace:
    """One labelled picture.

    Attributes:
        source: An image file's path, the encoded bytes, or a row of a large file.
        label: Canonical or user-defined label; "" if the data set has no labels.
        name: Name for messages, unique in its data set.
        votes: FER+ votes in the order of SOURCE_ORDERS["ferplus"], or None.
        subject: Person in the picture, or None if unknown.
        clip: Recording of the picture, or None if unknown.
        box: Face in the picture as (x, y, width, height) in pixels; None is the complete picture.
        soft: True if the votes are the training target instead of the label.
        unnamed: True if the data set has no name for the picture; ``name`` is then its path.
        cells: Text of each column that the spec asks for.
    """

    source: Path | bytes | LazyRow
    label: str
    name: str
    votes: tuple[int, ...] | None = None
    subject: str | None = None
    clip: str | None = None
    box: Box | None = None
    soft: bool = False
    unnamed: bool = False
    cells: Mapping[str, str] = field(default_factory=dict, compare=False)

    def read(self) -> Image:
        """Return the picture, uint8 BGR ``[H, W, 3]``.

        Raises DataError if it is broken.
        """
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
        """Return the training target: one share per label, 1 in total."""
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
    """Load a data set's index.

    Pictures stay encoded or on disk until they are read.

    Args:
        source: Path in any of ``formats.FORMATS``, with options after an @ (see DatasetSpec).
        split: ``train``, ``val`` or ``test``. None reads a data set without parts, or one file
            completely.
        labels: The model's labels; any other label is an error. User-defined labels are known
            only through this list.
        say: Reports faces that are left out.
        step: Reports progress.

    Returns:
        The faces in the order of the data set.

    Raises:
        MissingPartError: The data set has no such part.
        DataError: The data set is missing, empty or unreadable.
        LabelError: A label is not an emotion, or is a number without an order.
    """
    source = DatasetSpec.parse(source)
    if split is not None and split not in SPLITS:
        raise DataError(f"expected split train, val or test, got {split!r}")
    source = source.read_for(labels)
    stored, passed_over = _stored_faces(source, split, step)
    part = f", {split}" if split else ""
    if str(passed_over):
        say(f"{source.path}{part}: {passed_over}")
    if source.without is not None:
        every, stored = len(stored), Fold.parse(source.without).without(stored, source.path)
        say(f"{source.path}{part}: left out {every - len(stored):,} of fold {source.without}")
    faces = _named(stored, source, labels or (), say)
    if not faces:
        raise DataError(
            f"no faces found in {source.path}{part}. Known formats: "
            f"{', '.join(form.description for form in formats.FORMATS)}"
        )
    if labels is not None and (unknown := {face.label for face in faces} - {*labels, ""}):
        names = sorted(unknown)
        advice = f"Leave them out: '{source.path}@drop={'/'.join(names)}'"
        if unknown == {face.label for face in faces}:
            advice = f"Give other faces, or train with {set_labels(names)}"
        raise LabelError(
            f"{source.path} contains {', '.join(names)}, but the model knows only "
            f"{', '.join(labels)}. {advice}"
        )
    return readable_faces(faces, "skip", say, step)[0] if source.broken == "skip" else faces


def _stored_faces(
    source: DatasetSpec, split: str | None, step: Step
) -> tuple[list[StoredFace], PassedOver]:
    stored = []
    passed_over = PassedOver()
    try:
        for face in formats.read(source, split):
            if isinstance(face, PassedOver):
                passed_over += face
                continue
            stored.append(face)
            if len(stored) % 5000 == 0:
                step("listing faces", len(stored), len(stored))
    except OSError as error:
        advice = next_step(error, "Check the data set and its permissions")
        raise DataError(f"cannot read {source.path}: {error}. {advice}") from error
    return stored, passed_over


def _named(
    stored: Sequence[StoredFace], source: DatasetSpec, labels: Sequence[str], say: Say
) -> list[LabelledFace]:
    """Return the faces with the model's labels, without dropped ones and non-expressions."""
    matched, left_out = match_labels(stored, source, labels, say)
    if left_out:
        counts = ", ".join(f"{count:,} {label}" for label, count in sorted(left_out.items()))
        say(f"{source.path}: left out {counts}")
    return [
        LabelledFace(
            face.picture,
            label,
            face.name,
            None if source.labels == "none" else face.votes,
            face.subject,
            face.clip,
            face.box,
            soft=source.labels == "ferplus-soft",
            unnamed=face.unnamed,
            cells={name: _cell(face, name, source) for name in source.columns or ()},
        )
        for face, label in zip(stored, matched, strict=True)
        if label is not None
    ]


def _cell(face: StoredFace, column: str, source: DatasetSpec) -> str:
    """Return a cell; readers without columns still know subject and clip. Raises DataError."""
    if column in face.cells:
        return face.cells[column]
    known = {key: getattr(face, key) for key in ("subject", "clip") if getattr(face, key)}
    return str(known[column_named(column, list(known), source.path)])


@dataclass(frozen=True)
class BrokenPicture:
    """A picture that cannot be read, or is blank.

    Attributes:
        name: Name of the face.
        why: Reason in words.
    """

    name: str
    why: str

    def __str__(self) -> str:
        return self.why if self.name in self.why else f"{self.name} ({self.why})"


def hashed(
    faces: Sequence[LabelledFace],
    step: Step = silent,
    look: Callable[[Image], None] = lambda image: None,
) -> tuple[list[str | None], list[BrokenPicture]]:
    """Hash the pixels of every face, and list the broken pictures.

    Args:
        faces: Faces to read.
        step: Reports progress.
        look: Called with every readable picture, uint8 BGR ``[H, W, 3]``.

    Returns:
        ``pixel_hash`` of each face, None for a broken or blank picture; and those pictures.
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
    *,
    skip: str = "--broken skip",
) -> tuple[list[LabelledFace], list[str]]:
    """Read every face and keep the readable ones.

    Args:
        faces: Faces to read.
        broken: ``fail`` on broken pictures, or ``skip`` them.
        say: Reports each skipped picture.
        step: Reports progress.
        skip: Option or data set that skips broken pictures, for the message.

    Returns:
        The readable faces and their pixel hashes.

    Raises:
        DataError: Pictures are broken and ``broken`` is ``fail``; names the pictures.
    """
    hashes, unreadable = hashed(faces, step)
    if unreadable and broken == "fail":
        hidden = len(unreadable) - _LISTED
        more = f"; and {hidden} more" if hidden > 0 else ""
        raise DataError(
            f"{len(unreadable)} of {len(faces)} pictures cannot be used: "
            + "; ".join(map(str, unreadable[:_LISTED]))
            + f"{more}. Repair or remove them, or skip them with {skip}"
        )
    for picture in unreadable:
        say(f"Left out: {picture}")
    pairs = [(f, h) for f, h in zip(faces, hashes, strict=True) if h is not None]
    return [f for f, _ in pairs], [h for _, h in pairs]


def hash_of(image: Image) -> str:
    """Return the SHA-256 of an image's pixels and shape."""
    return hashlib.sha256(repr(image.shape).encode() + image.tobytes()).hexdigest()


def pixel_hash(face: LabelledFace) -> str:
    """Return the SHA-256 of decoded pixels and shape.

    It is equal for duplicates in any format.
    """
    return hash_of(face.read())


def fingerprint(faces: Sequence[LabelledFace], hashes: Sequence[str]) -> str:
    """Return a SHA-256 over every picture and target.

    File names and order do not count.
    """
    lines = sorted(
        f"{h} {face.label}" + (f" {face.votes}" if face.soft else "")
        for face, h in zip(faces, hashes, strict=True)
    )
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def digest_of(hashes: Sequence[str]) -> str:
    """Return a SHA-256 over pictures without their targets, in any order."""
    return hashlib.sha256("\n".join(sorted(hashes)).encode()).hexdigest()


def without_duplicates(
    faces: Sequence[LabelledFace], hashes: Sequence[str], others: Iterable[str]
) -> tuple[list[LabelledFace], list[str]]:
    """Return the faces, and their hashes, whose hash is not among ``others``."""
    known = set(others)
    pairs = [(f, h) for f, h in zip(faces, hashes, strict=True) if h not in known]
    return [f for f, _ in pairs], [h for _, h in pairs]


def seeded(seed: int) -> np.random.Generator:
    """Return random numbers of a seed. Raises InputError for a negative seed."""
    if seed < 0:
        raise InputError(f"expected a seed from 0 on, got {shown(seed)}. Choose another")
    return np.random.default_rng(seed)


def stratified(faces: Sequence[LabelledFace], count: int, seed: int) -> list[LabelledFace]:
    """Draw a seeded sample with classes as even as the data allow.

    Args:
        faces: Faces to draw from.
        count: Largest number of faces.
        seed: Seed of the draw; the order of ``faces`` does not matter.

    Returns:
        ``count`` faces, or all if there are fewer.

    Raises:
        InputError: The seed is negative.
    """
    rng = seeded(seed)
    by_label: dict[str, list[LabelledFace]] = {}
    for face in sorted(faces, key=lambda f: f.name):
        by_label.setdefault(face.label, []).append(face)
    queues = [
        [group[i] for i in rng.permutation(len(group))] for _, group in sorted(by_label.items())
    ]
    sample: list[LabelledFace] = []
    while len(sample) < count and any(queues):
        for queue in queues:
            if queue and len(sample) < count:
                sample.append(queue.pop())
    return sample
