"""Faces that calibrate int8, and other faces that verify every variant."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fer_edge.converters.pipeline.judging_faces import JUDGING_FACES, judging_faces, moved_faces
from fer_edge.errors import DataError, MissingPartError
from fer_edge.labels import EMOTIONS
from fer_edge.parity import FacesRecord
from fer_edge.preprocess import CropRule, Image, resize_into
from fer_edge.shipped import FACES
from fer_edge.training.data.dataset_spec import DatasetSpec
from fer_edge.training.data.faces import LabelledFace, digest_of, hash_of, load_faces, stratified

CALIBRATION_FACES = 300
"""Number of calibration faces: NNCF's default. More changed nothing in NNCF's regressions."""
MOVED_FACES = 1_000
"""Number of judging faces that are made from a source with fewer than MIN_GATE_FACES."""
_FEWEST_FACES = 10
"""Smallest number of faces whose copies can judge."""
MIN_GATE_FACES = 100
"""Smallest number of faces that the gate accepts. Most verdicts need more: 99.5 % of the answered
decisions are proven by 765 answered faces at the least."""
_COMPOSITES = "shipped composite faces"
"""Source of the shipped faces and of those made from them."""


@dataclass(frozen=True)
class FaceSamples:
    """Resized faces and their origin.

    Attributes:
        images: Faces, uint8 ``[N, S, S, 3]`` BGR.
        truth: Label of each face.
        source: Name of the data set.
        sha256: SHA-256 of the sorted pixel hashes.
        hashes: Pixel hash of each face.
        originals: Number of faces that copies were made of; None if none is a copy.
    """

    images: npt.NDArray[np.uint8]
    truth: list[str]
    source: str
    sha256: str
    hashes: tuple[str, ...] = ()
    originals: int | None = None

    @property
    def record(self) -> FacesRecord:
        """Record of these faces for a parity report."""
        return FacesRecord(self.source, len(self.images), self.sha256)

    @property
    def independent(self) -> float:
        """Share (0..1) of the faces that are evidence of their own: copies are none."""
        return 1.0 if self.originals is None else min(self.originals / len(self.images), 1.0)

    def first(self, count: int) -> FaceSamples:
        """Return the first ``count`` faces, with a record of their own."""
        if count == len(self.images):
            return self
        images, hashes = self.images[:count], self.hashes[:count]
        return replace(
            self, images=images, truth=self.truth[:count], sha256=digest_of(hashes), hashes=hashes
        )


def parity_faces(
    source: Path | None, labels: tuple[str, ...], rule: CropRule, most: int | None = None
) -> FaceSamples:
    """Load the faces that verify variants.

    They are the part ``val``, or all of a source without splits, in an order that mixes classes.

    Args:
        source: Labelled faces; None makes faces from the composites that ship with the package.
        labels: Names of the classes.
        rule: Crop rule of the network.
        most: Size of a stratified sample; None takes all faces, or JUDGING_FACES without a source.

    Returns:
        The faces.

    Raises:
        DataError: The faces cannot be read, or are fewer than 10.
    """
    if source is None and not set(EMOTIONS) <= set(labels):
        raise DataError(
            "the shipped faces show the seven emotions, and this model has the labels "
            f"{', '.join(labels)}. Judge it on your own faces: --data FOLDER"
        )
    faces = _load(source or FACES, "val", labels)
    if source is None:
        made = judging_faces(faces, JUDGING_FACES if most is None else most)
        return _made(made, len(made), rule)
    if most is not None:
        faces = stratified(faces, most, seed=0)
    # A time budget may end the gate after the first faces, and files are sorted by class.
    faces = [faces[i] for i in np.random.default_rng(0).permutation(len(faces))]
    if len(faces) < _FEWEST_FACES:
        raise DataError(
            f"expected at least {_FEWEST_FACES} faces to verify variants on, got {len(faces)}. "
            "Give more with --data"
        )
    if len(faces) < MIN_GATE_FACES:
        # Parity compares a variant with its checkpoint: copies of few faces show the rounding.
        copies = _made(moved_faces(faces, MOVED_FACES), MOVED_FACES, rule)
        name = f"{_name(source)}, {len(faces)} faces moved and mirrored"
        return replace(copies, source=name, originals=len(faces))
    return _resized(faces, source, rule)


class NoFacesLeftError(DataError):
    """Each face for calibration is also a face of the gate."""


def calibration_faces(
    source: Path | None,
    labels: tuple[str, ...],
    rule: CropRule,
    gate: FaceSamples,
    seed: int,
    count: int = CALIBRATION_FACES,
) -> FaceSamples:
    """Draw a stratified sample of ``train`` without any picture of the gate.

    Args:
        source: Labelled faces; None takes the composite faces that ship with the package.
        labels: Names of the classes.
        rule: Crop rule of the network.
        gate: Faces that verify; their pictures are left out.
        seed: Seed of the sample.
        count: Size of the sample; it is smaller if there are fewer faces.

    Returns:
        The faces.

    Raises:
        DataError: The faces cannot be read.
        NoFacesLeftError: Each face is also in the gate.
        InputError: The seed is negative.
    """
    candidates = stratified(_load(source or FACES, "train", labels), 2 * count, seed)
    gate_hashes = {hashlib.sha256(image.tobytes()).digest() for image in gate.images}
    faces = _resized(candidates, source, rule)
    keep = [
        i
        for i, image in enumerate(faces.images)
        if hashlib.sha256(image.tobytes()).digest() not in gate_hashes
    ][:count]
    if not keep:
        raise NoFacesLeftError(
            "expected faces for calibration, every one is also a face of the gate. Split them with "
            f"'fer-edge data split {source} -o NAME --shares 0.8,0.2' and pass --data NAME, or "
            "give other faces with --calibrate"
        )
    return _resized([candidates[i] for i in keep], source, rule)


def calibration_if_any(
    source: Path | None,
    labels: tuple[str, ...],
    rule: CropRule,
    gate: FaceSamples,
    seed: int,
    needed: bool,
) -> FaceSamples:
    """Draw calibration faces; none if each is also in the gate and no variant needs them.

    The arguments are those of ``calibration_faces``. If some are ``needed``, NoFacesLeftError is
    raised instead.
    """
    try:
        return calibration_faces(source, labels, rule, gate, seed)
    except NoFacesLeftError:
        if needed:
            raise
        return gate.first(0)


def _load(source: Path, split: str, labels: tuple[str, ...]) -> list[LabelledFace]:
    try:
        return load_faces(source, split, labels)
    except MissingPartError as error:
        try:
            return load_faces(source, None, labels)
        except DataError:
            raise DataError(f"expected a {split} part in {source}: {error}") from error


def _resized(faces: list[LabelledFace], source: Path | None, rule: CropRule) -> FaceSamples:
    pictures = ((face.read(), face.label) for face in faces)
    name = _COMPOSITES if source is None else _name(source)
    return _samples(pictures, len(faces), rule, hash_of, name)


def _name(source: Path) -> str:
    """Return the name of a data set and its options, without the path on this machine."""
    return DatasetSpec.parse(source).described


def _made(faces: Iterable[tuple[Image, str]], count: int, rule: CropRule) -> FaceSamples:
    return _samples(
        faces, count, rule, lambda image: hashlib.sha256(image.tobytes()).hexdigest(), _COMPOSITES
    )


def _samples(
    pictures: Iterable[tuple[Image, str]],
    count: int,
    rule: CropRule,
    hashed: Callable[[Image], str],
    source: str,
) -> FaceSamples:
    """Resize each picture as it comes: all of them in their own sizes may not fit into memory."""
    images = np.empty((count, rule.size_px, rule.size_px, 3), np.uint8)
    truth, hashes = [], []
    for (picture, label), image in zip(pictures, images, strict=True):
        resize_into(picture, image)
        truth.append(label)
        hashes.append(hashed(picture))
    return FaceSamples(images, truth, source, digest_of(hashes), tuple(hashes))
