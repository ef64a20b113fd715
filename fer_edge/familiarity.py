"""Familiarity of a face: how far it lies from the faces that a network was trained on.

Two distances are computed on the host, in float64, so that they do not depend on the chip:

- of the embedding, scaled to length 1: the Mahalanobis distance under probabilistic PCA (Tipping
  and Bishop, 1999), of the embeddings of training faces;
- of seven numbers on the picture: contrast by scale, brightness and symmetry. A network can map
  noise onto a face's embedding; the picture still tells.

A face is unfamiliar if either exceeds its limit. The limits are set together, so that a stated
share of held-out faces is refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fer_edge.bundle_files import BundleFile, read_checked
from fer_edge.bundle_parts import parse_file
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
_SCALES = 4
"""Scales at which contrast is taken: from 32 to 4 pixels a side."""
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
            parse_file(item["file"], f"{where}.file"),
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
        offsets = unit(embeddings) - self.mean
        inside = offsets @ self.components.T
        return np.asarray(self.inverse_noise * (offsets**2).sum(1) - (inside**2).sum(1))

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
    return np.asarray(values / np.maximum(lengths, 1e-12))


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
    count, size = batch.shape[:2]
    edges = np.arange(LEAST_SIZE_PX) * size // LEAST_SIZE_PX
    sides = np.diff(np.append(edges, size)).astype(np.float64)
    grey = batch.sum(3, dtype=np.float64) / 3
    sums = np.add.reduceat(np.add.reduceat(grey, edges, 1), edges, 2)
    picture = sums / (sides[:, None] * sides[None, :])
    mean = picture.mean((1, 2))
    variances = [picture.var((1, 2))]
    level = picture
    for _ in range(_SCALES):
        half = level.shape[1] // 2
        level = level.reshape(count, half, 2, half, 2).mean((2, 4))
        variances.append(level.var((1, 2)))
    whole = variances[0] + 1
    details = [
        np.log(np.sqrt(np.maximum(finer - coarser, 0) / whole) + 1e-3)
        for finer, coarser in pairwise(variances)
    ]
    centred = picture - mean[:, None, None]
    mirrored = (centred * centred[:, :, ::-1]).mean((1, 2)) / whole
    return np.stack([*details, np.log(whole) / 2, mean / 64, mirrored], 1)
