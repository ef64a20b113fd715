"""Faces that calibrate int8, and other faces that verify every variant."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fer_edge.errors import DataError, MissingPartError
from fer_edge.parity import FacesRecord
from fer_edge.preprocess import CropRule, to_batch
from fer_edge.shipped import FACES
from fer_edge.training.data.faces import LabelledFace, load_faces, pixel_hash, stratified

CALIBRATION_FACES = 300
"""Number of calibration faces: NNCF's default. More changed nothing in NNCF's regressions."""
MIN_GATE_FACES = 100
"""Smallest number of faces for a verdict."""


@dataclass(frozen=True)
class FaceSamples:
    """Resized faces and their origin.

    Attributes:
        images: Faces, uint8 ``[N, S, S, 3]`` BGR.
        truth: Label of each face.
        source: Name of the data set.
        sha256: SHA-256 of the sorted pixel hashes.
    """

    images: npt.NDArray[np.uint8]
    truth: list[str]
    source: str
    sha256: str

    @property
    def record(self) -> FacesRecord:
        """Record of these faces for a parity report."""
        return FacesRecord(self.source, len(self.images), self.sha256)


def parity_faces(
    source: Path | None, labels: tuple[str, ...], rule: CropRule, most: int | None = None
) -> FaceSamples:
    """Load the faces that verify variants.

    They are the part ``val``, or all of a source without splits.

    Args:
        source: Labelled faces; None takes the composite faces that ship with the package.
        labels: Names of the classes.
        rule: Crop rule of the network.
        most: Size of a stratified sample; None takes all faces.

    Returns:
        The faces.

    Raises:
        DataError: The faces cannot be read, or are too few for a verdict.
    """
    faces = _load(source or FACES, "val", labels)
    if most is not None:
        faces = stratified(faces, most, seed=0)
    if len(faces) < MIN_GATE_FACES:
        raise DataError(
            f"expected at least {MIN_GATE_FACES} faces to verify variants on, got {len(faces)}. "
            "Give more with --data"
        )
    return _resized(faces, source, rule)


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
        DataError: The faces cannot be read, or each of them is also in the gate.
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
        raise DataError(
            "expected faces for calibration, every one is also a face of the gate. "
            "Give other faces with --calibrate"
        )
    return _resized([candidates[i] for i in keep], source, rule)


def _load(source: Path, split: str, labels: tuple[str, ...]) -> list[LabelledFace]:
    try:
        return load_faces(source, split, labels)
    except MissingPartError as error:
        try:
            return load_faces(source, None, labels)
        except DataError:
            raise DataError(f"expected a {split} part in {source}: {error}") from error


def _resized(faces: list[LabelledFace], source: Path | None, rule: CropRule) -> FaceSamples:
    digest = hashlib.sha256("\n".join(sorted(pixel_hash(face) for face in faces)).encode())
    return FaceSamples(
        images=to_batch([face.read() for face in faces], rule),
        truth=[face.label for face in faces],
        source="shipped composite faces" if source is None else source.name,
        sha256=digest.hexdigest(),
    )
