"""The real faces that calibrate int8, and the other ones that judge every variant."""

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
"""NNCF's and the vendors' usual number; more changed nothing in their own regressions."""
MIN_GATE_FACES = 100


@dataclass(frozen=True)
class FaceSamples:
    """Resized faces, uint8 ``[N, S, S, 3]`` BGR, and what is recorded of them."""

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
    """The faces of ``val`` (or of a source without splits) that variants are judged on.

    most: take a stratified sample of that many; None takes all.
    Raises DataError if there are too few for a verdict.
    """
    faces = _load(source or FACES, "val", labels)
    if most is not None:
        faces = stratified(faces, most, seed=0)
    if len(faces) < MIN_GATE_FACES:
        raise DataError(
            f"expected at least {MIN_GATE_FACES} faces to judge variants on, got {len(faces)}"
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
    """A seeded, stratified sample of ``train``, without any picture that the gate uses; fewer
    than ``count`` if there are no more.

    Raises DataError if that leaves none: a network calibrated on its exam proves nothing.
    """
    candidates = stratified(_load(source or FACES, "train", labels), 2 * count, seed)
    exam = {hashlib.sha256(image.tobytes()).digest() for image in gate.images}
    faces = _resized(candidates, source, rule)
    keep = [
        i
        for i, image in enumerate(faces.images)
        if hashlib.sha256(image.tobytes()).digest() not in exam
    ][:count]
    if not keep:
        raise DataError(
            "every face for calibration is also one that the variants are judged on. "
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
