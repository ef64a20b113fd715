"""Familiarity of a face: its distance from a network's training faces.

Two distances are computed on the host, in float64, so that they do not depend on the chip:

- of the embedding, scaled to length 1: the Mahalanobis distance under probabilistic PCA (Tipping
  and Bishop, 1999), of the embeddings of training faces;
- of seven numbers on the picture: contrast by scale, brightness and symmetry. A network can map
  noise onto a face's embedding; the picture still tells.

A face is unfamiliar if either exceeds its limit. The limits are set together, so that a stated
share of held-out faces is refused.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from fer_edge.bundle_files import BundleFile, read_checked
from fer_edge.bundle_parts import FILE_KEYS, parse_file
from fer_edge.errors import BundleError
from fer_edge.json_check import read_count, read_integer, read_number, read_object

PATH = "familiarity/statistics.bin"
"""Place of the statistics in a bundle."""
REASON = "unlike the faces it was trained on"
"""Reason of an uncertain answer."""
NUMBERS = 7
"""Numbers on the picture."""
MOST_COMPONENTS = 1024
LEAST_SIZE_PX = 32
"""Smallest side of a network's input whose pictures are judged."""
_MOST_LIMIT = 1e12
_LEAST_LENGTH = 1e-12
"""Least length by which an embedding is divided: zeros stay zeros."""
_SIDE_PX = 32
"""Side of the grey picture that the numbers are on."""
_SIDES_PX = (16, 8, 4, 2)
"""Sides of the picture after each halving."""
_AVERAGES = np.concatenate(
    [np.eye(side).repeat(_SIDE_PX // side, axis=1) * side / _SIDE_PX for side in _SIDES_PX]
)
"""Averages of 2, 4, 8 and 16 of 32 pixels, one a row, ``[30, 32]``."""
_IS_OWN = np.equal.outer(_SIDES_PX, np.repeat(_SIDES_PX, _SIDES_PX))
_MEANS = np.stack([np.outer(own, own).ravel() / own.sum() ** 2 for own in _IS_OWN], axis=1)
"""Mean over the pixels of each halving, ``[900, 4]``, in the ``[30, 30]`` products."""
_KEYS = ("file", "components", "embedding_limit", "picture_limit", "false_refusals", "faces")

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class FamiliarityRecord:
    """Familiarity as ``bundle.json`` states it.

    Attributes:
        file: File with the statistics, little-endian float32: one number, the inverse variance
            outside the components; the mean ``[D]``; the components ``[K, D]``; mean ``[7]`` and
            whitening ``[7, 7]`` of the numbers on a picture.
        components: Number K of components.
        embedding_limit: Largest distance of a familiar embedding.
        picture_limit: Largest distance of a familiar picture.
        false_refusals: Share (0..1) of held-out faces that exceeds a limit.
        faces: Number of held-out faces that set the limits.
    """

    file: BundleFile
    components: int
    embedding_limit: float
    picture_limit: float
    false_refusals: float
    faces: int

    @staticmethod
    def parse(value: Any, where: str) -> FamiliarityRecord:
        """Read a record. Raises ValueError."""
        item = read_object(value, where, _KEYS)
        return FamiliarityRecord(
            parse_file(read_object(item["file"], f"{where}.file", FILE_KEYS), f"{where}.file"),
            read_integer(item["components"], f"{where}.components", 1, MOST_COMPONENTS),
            read_number(item["embedding_limit"], f"{where}.embedding_limit", 0, _MOST_LIMIT),
            read_number(item["picture_limit"], f"{where}.picture_limit", 0, _MOST_LIMIT),
            read_number(item["false_refusals"], f"{where}.false_refusals", 0, 1),
            read_count(item["faces"], f"{where}.faces"),
        )

    def check(self, embedding_dim: int, size_px: int) -> None:
        """Raise ValueError if the record does not fit its network."""
        expected = 4 * (1 + (1 + self.components) * embedding_dim + NUMBERS * (1 + NUMBERS))
        if self.file.bytes != expected:
            raise ValueError(
                f"expected {expected} bytes of statistics in {self.file.path}, got "
                f"{self.file.bytes}"
            )
        if size_px < LEAST_SIZE_PX:
            raise ValueError(f"expected an input of {LEAST_SIZE_PX} px or more for familiarity")


@dataclass(frozen=True, eq=False)
class Statistics:
    """Statistics of training faces.

    Attributes:
        inverse_noise: Inverse variance of an embedding outside the components.
        mean: Mean of the unit embeddings, ``[D]``.
        components: Directions ``[K, D]``, each scaled by the root of what its variance lowers the
            inverse variance by.
        picture_mean: Mean of the numbers on pictures, ``[7]``.
        picture_whitening: Matrix ``[7, 7]`` that whitens them.
    """

    inverse_noise: float
    mean: Floats
    components: Floats
    picture_mean: Floats
    picture_whitening: Floats

    @staticmethod
    def read(data: bytes, components: int, embedding_dim: int) -> Statistics:
        """Read a file of the right size. Raises ValueError for values that are not finite."""
        values = np.frombuffer(data, "<f4").astype(np.float64)
        if not np.isfinite(values).all():
            raise ValueError("expected finite numbers in the statistics of familiarity")
        ends = np.cumsum([1, embedding_dim, components * embedding_dim, NUMBERS, NUMBERS**2])
        noise, mean, directions, numbers, whitening = np.split(values, ends[:-1])
        return Statistics(
            float(noise[0]),
            mean,
            directions.reshape(components, embedding_dim),
            numbers,
            whitening.reshape(NUMBERS, NUMBERS),
        )

    def data(self) -> bytes:
        """Return the file."""
        parts = (
            [self.inverse_noise],
            self.mean,
            self.components.ravel(),
            self.picture_mean,
            self.picture_whitening.ravel(),
        )
        return np.concatenate([np.asarray(part, "<f4") for part in parts]).astype("<f4").tobytes()

    def of_embeddings(self, embeddings: npt.NDArray[np.float32]) -> Floats:
        """Return the squared distance of each embedding ``[N, D]``."""
        return np.array([self._of_embedding(row) for row in embeddings.astype(np.float64)])

    def _of_embedding(self, embedding: Floats) -> float:
        length = math.sqrt(embedding @ embedding)
        offset = embedding / max(length, _LEAST_LENGTH) - self.mean
        inside = self.components @ offset
        return float(self.inverse_noise * (offset @ offset) - inside @ inside)

    def of_numbers(self, numbers: Floats) -> Floats:
        """Return the squared distance of each picture by its numbers ``[N, 7]``."""
        offsets = (numbers - self.picture_mean) @ self.picture_whitening.T
        return np.asarray((offsets**2).sum(1))


@dataclass(frozen=True)
class Familiarity:
    """Statistics and limits that judge faces.

    Attributes:
        record: Limits.
        statistics: Statistics of training faces.
    """

    record: FamiliarityRecord
    statistics: Statistics

    def unfamiliar(
        self, batch: npt.NDArray[np.uint8], embeddings: npt.NDArray[np.float32]
    ) -> npt.NDArray[np.bool_]:
        """Return whether each face is unlike the training faces.

        Args:
            batch: Network input, uint8 ``[N, S, S, 3]``.
            embeddings: Embeddings of the same faces, float32 ``[N, D]``.
        """
        return self.refuses(embeddings, numbers_of(batch))

    def refuses(
        self, embeddings: npt.NDArray[np.float32], numbers: Floats
    ) -> npt.NDArray[np.bool_]:
        """Return whether each face exceeds a limit, by its embedding and numbers ``[N, 7]``."""
        far = self.statistics.of_embeddings(embeddings) > self.record.embedding_limit
        odd = self.statistics.of_numbers(numbers) > self.record.picture_limit
        return np.asarray(far | odd)


def read_familiarity(
    root: Path, record: FamiliarityRecord | None, embedding_dim: int
) -> Familiarity | None:
    """Read a bundle's statistics of training faces; None without any. Raises BundleError."""
    if record is None:
        return None
    data = read_checked(root, record.file)
    try:
        statistics = Statistics.read(data, record.components, embedding_dim)
    except ValueError as error:
        raise BundleError(f"{root / record.file.path}: {error}. Copy the bundle again") from error
    return Familiarity(record, statistics)


def unit(embeddings: npt.NDArray[np.float32]) -> Floats:
    """Return embeddings scaled to length 1; a zero stays."""
    values = embeddings.astype(np.float64)
    lengths = np.sqrt((values**2).sum(1, keepdims=True))
    return np.asarray(values / np.maximum(lengths, _LEAST_LENGTH))


def numbers_of(batch: npt.NDArray[np.uint8]) -> Floats:
    """Return seven numbers on each picture.

    The picture is averaged to 32x32 grey pixels. Its variance splits exactly into what each halving
    removes (a Haar pyramid): four numbers are the logarithms of those parts' roots, relative to the
    contrast. The others are the logarithm of the contrast, the brightness over 64, and the
    correlation with the mirrored picture.

    Args:
        batch: Network input, uint8 ``[N, S, S, 3]``, S 32 or more.

    Returns:
        Numbers ``[N, 7]``.
    """
    return np.array([_numbers(face) for face in batch], np.float64).reshape(-1, NUMBERS)


def _numbers(face: npt.NDArray[np.uint8]) -> list[float]:
    """Return the numbers on one picture. A face at a time is faster than small batches."""
    size_px = len(face)
    corners, values = _cells(size_px)
    # The integral of a large picture may exceed 32 bits; differences of it are right all the same.
    sums = cv2.integral(face.reshape(size_px, 3 * size_px)).take(corners)
    bands = sums[1:] - sums[:-1]
    picture = (bands[:, 1:] - bands[:, :-1]) / values
    mean = float(picture.sum()) / picture.size
    centred = picture - mean
    halved = (_AVERAGES @ centred @ _AVERAGES.T).ravel()
    variances = [float(np.vdot(centred, centred)) / picture.size, *(halved**2 @ _MEANS).tolist()]
    whole = variances[0] + 1
    details = [
        math.log(math.sqrt(max(finer - coarser, 0) / whole) + 1e-3)
        for finer, coarser in pairwise(variances)
    ]
    mirrored = float(np.vdot(centred, centred[:, ::-1])) / picture.size / whole
    return [*details, math.log(whole) / 2, mean / 64, mirrored]


@lru_cache(maxsize=8)
def _cells(size_px: int) -> tuple[npt.NDArray[np.int64], Floats]:
    """Return the cells of a grey pixel of the 32x32.

    Returns:
        Places of the cells' corners in the flat integral of a picture, ``[33, 33]``; and the number
        of values, three a pixel, in each cell, ``[32, 32]``.
    """
    edges = np.arange(_SIDE_PX + 1) * size_px // _SIDE_PX
    sides = np.diff(edges)
    return np.add.outer(edges * (3 * size_px + 1), 3 * edges), 3.0 * np.outer(sides, sides)
