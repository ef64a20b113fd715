"""Statistics and limits of familiarity, fitted to faces."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from fer_edge.bundle_files import listed
from fer_edge.errors import DataError
from fer_edge.familiarity import (
    NUMBERS,
    PATH,
    Familiarity,
    FamiliarityRecord,
    Floats,
    Statistics,
    unit,
)

COMPONENTS = 32
"""Components of the embedding. Of 32, 64, 128 and 256, it refused the most non-faces."""
FALSE_REFUSALS = 0.01
"""Share (0..1) of held-out faces that may be refused."""
FEWEST_TRAINING_FACES = 500
FEWEST_HELD_OUT_FACES = 200
"""Least numbers of faces. The 99th percentile of 200 faces has the two largest above it."""
_RIDGE = 1e-3
_HALVINGS = 40


def check_counts(training: int, held_out: int) -> None:
    """Raise DataError for too few training faces or held-out faces."""
    if training < FEWEST_TRAINING_FACES or held_out < FEWEST_HELD_OUT_FACES:
        raise DataError(
            f"expected at least {FEWEST_TRAINING_FACES} training faces and "
            f"{FEWEST_HELD_OUT_FACES} held-out faces, got {training} and {held_out}. Give the data "
            "that the model was trained on"
        )


def fit_familiarity(
    embeddings: npt.NDArray[np.float32],
    numbers: Floats,
    held_out: tuple[npt.NDArray[np.float32], Floats],
) -> Familiarity:
    """Fit statistics to training faces, and limits to held-out faces.

    Args:
        embeddings: Embeddings of training faces, ``[N, D]``.
        numbers: Numbers on their pictures, ``[N, 7]``.
        held_out: The same of held-out faces.

    Raises:
        DataError: There are too few faces.
    """
    check_counts(len(embeddings), len(held_out[0]))
    points = unit(embeddings)
    mean = points.mean(0)
    _, sizes, directions = np.linalg.svd(points - mean, full_matrices=False)
    variances = sizes**2 / (len(points) - 1)
    kept = min(COMPONENTS, points.shape[1] - 1)
    noise = max(float(variances[kept:].sum()) / (points.shape[1] - kept), 1e-12)
    scales = np.sqrt(np.maximum(1 / noise - 1 / np.maximum(variances[:kept], noise), 0))
    picture_mean, whitening = whitened(numbers)
    statistics = Statistics(
        1 / noise, mean, directions[:kept] * scales[:, None], picture_mean, whitening
    )
    # Limits of the numbers as the file stores them.
    statistics = Statistics.read(statistics.data(), kept, points.shape[1])
    return with_limits(statistics, *held_out)


def with_limits(
    statistics: Statistics,
    embeddings: npt.NDArray[np.float32],
    numbers: Floats,
    false_refusals: float = FALSE_REFUSALS,
) -> Familiarity:
    """Set both limits, equally strict, so that a share of these faces is refused.

    Args:
        statistics: Statistics of other faces.
        embeddings: Embeddings ``[N, D]``.
        numbers: Numbers on the pictures, ``[N, 7]``.
        false_refusals: Share (0..1) of the faces that exceeds a limit.
    """
    far, odd = statistics.of_embeddings(embeddings), statistics.of_numbers(numbers)
    low, high = 0.0, false_refusals
    for _ in range(_HALVINGS):  # each limit's own share, between none and all of it
        middle = (low + high) / 2
        limits = [float(np.quantile(values, 1 - middle)) for values in (far, odd)]
        refused = float(((far > limits[0]) | (odd > limits[1])).mean())
        low, high = (middle, high) if refused <= false_refusals else (low, middle)
    limits = [float(np.quantile(values, 1 - low)) for values in (far, odd)]
    refused = float(((far > limits[0]) | (odd > limits[1])).mean())
    data = statistics.data()
    record = FamiliarityRecord(
        file=listed(PATH, data),
        components=len(statistics.components),
        embedding_limit=limits[0],
        picture_limit=limits[1],
        false_refusals=refused,
        faces=len(embeddings),
    )
    return Familiarity(record, statistics)


def moved(
    familiarity: Familiarity, embeddings: npt.NDArray[np.float32], numbers: Floats
) -> Familiarity:
    """Move statistics to a camera's faces, and set the limits by them.

    Directions stay, because they need thousands of faces; both means and the whitening of the
    pictures are the camera's.

    Args:
        familiarity: Familiarity of the training faces.
        embeddings: Embeddings of the camera's faces, ``[N, D]``.
        numbers: Numbers on their pictures, ``[N, 7]``.
    """
    picture_mean, whitening = whitened(numbers)
    statistics = replace(
        familiarity.statistics,
        mean=unit(embeddings).mean(0),
        picture_mean=picture_mean,
        picture_whitening=whitening,
    )
    components, dim = statistics.components.shape
    return with_limits(Statistics.read(statistics.data(), components, dim), embeddings, numbers)


def whitened(numbers: Floats) -> tuple[Floats, Floats]:
    """Return the mean of numbers ``[N, 7]``, and the matrix that whitens them."""
    mean = numbers.mean(0)
    covariance = np.cov(numbers.T) + _RIDGE * np.eye(NUMBERS)
    return mean, np.linalg.inv(np.linalg.cholesky(covariance))
