"""One call of a loaded variant: preprocess, run, check, abstain."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from fer_edge.backends.base import Outputs
from fer_edge.bundle import Bundle
from fer_edge.errors import EngineError, InputError
from fer_edge.familiarity import REASON
from fer_edge.images.containers import MAX_PIXELS
from fer_edge.loaded import Loaded, Request, load_best
from fer_edge.preprocess import Image, to_batch
from fer_edge.results import Prediction, Times
from fer_edge.shown import shown

FLAT_BELOW = 4.0
"""Least standard deviation of the brightness (0..255) of a face.

Below it, the camera is unlit, saturated or covered. FER2013's flattest real faces lie above 10."""

_MOST_FACES = 256
"""Most faces that run at once for one image. More are no faster."""
_MOST_PIXELS = 16_000_000
"""Pixels of cut faces that are kept at once for one image. The last of them may be larger."""

_SUM_TOLERANCE = 0.02
"""Largest distance of the sum of probabilities from 1. Half precision is off by 0.002."""


def warm_up(loaded: Loaded, batch_sizes: Sequence[int]) -> None:
    """Run each batch size twice on random noise. Raises EngineError or InputError."""
    size = loaded.bundle.crop.size_px
    most = MAX_PIXELS // size**2
    if isinstance(batch_sizes, str | bytes) or not isinstance(batch_sizes, Collection):
        raise InputError(f"expected a list of batch sizes such as [1, 8], got {shown(batch_sizes)}")
    for count in batch_sizes:
        if (
            isinstance(count, bool)
            or not isinstance(count, int | np.integer)
            or not 1 <= count <= most
        ):
            raise InputError(f"expected batch sizes of 1 to {most:,} faces, got {shown(count)}")
        noise = np.random.default_rng(0).integers(0, 256, (count, size, size, 3), np.uint8)
        for _ in range(2):
            run_checked(loaded, noise)
        loaded.warm.add(int(count))


def is_warm(loaded: Loaded, batch_sizes: Collection[int]) -> bool:
    """Return True if a warm-up has run these batch sizes in this process."""
    return loaded.usable and loaded.warm.issuperset(batch_sizes)


def load_warm(bundle: Bundle, request: Request) -> Loaded:
    """Load a bundle's first variant that fits, and warm it up. Raises FerEdgeError."""
    loaded = load_best(bundle, request)
    try:
        warm_up(loaded, (1, 2))
    except BaseException:
        loaded.retire()
        raise
    return loaded


def run_checked(loaded: Loaded, batch: npt.NDArray[np.uint8]) -> Outputs:
    """Run a batch and check what the engine returns. Raises EngineError."""
    probabilities, embeddings = loaded.session.run(batch)
    expected = (len(batch), len(loaded.bundle.labels)), (len(batch), loaded.bundle.embedding_dim)
    for name, output, shape in zip(
        ("probabilities", "embeddings"), (probabilities, embeddings), expected, strict=True
    ):
        if output.shape != shape or output.dtype != np.float32:
            raise EngineError(
                f"expected {name} float32 of shape {shape}, {loaded.variant.name} returned "
                f"{output.dtype} of shape {output.shape}. Convert the checkpoint again"
            )
        if not np.isfinite(output).all():
            raise EngineError(
                f"{loaded.variant.name} returned {name} that are not numbers. "
                "Take another variant: Predictor(exclude=[...])"
            )
    if probabilities.min() < -1e-3 or np.abs(probabilities.sum(1) - 1).max() > _SUM_TOLERANCE:
        raise EngineError(
            f"{loaded.variant.name} returned probabilities that do not add up to 1. "
            "Take another variant: Predictor(exclude=[...])"
        )
    return probabilities, embeddings


def prepared(
    name: str, values: Iterable[Any], expected: str, prepare: Callable[[Any], Image]
) -> Iterator[Image]:
    """Yield the faces of a call.

    Args:
        name: Name of one value, for messages.
        values: Pictures or boxes. Their own iterator may raise anything.
        expected: Name of all values, for messages.
        prepare: Makes a face of one value. Raises InputError.

    Raises:
        InputError: A value cannot be used. The message has its index.
    """
    try:
        items = iter(values)
    except TypeError:
        raise InputError(f"expected {expected}, got {type(values).__name__}") from None
    for number, item in enumerate(items):
        try:
            face = prepare(item)
        except InputError as error:
            raise InputError(f"{name} {number}: {error}") from error
        yield face


def in_parts(faces: Iterable[Image]) -> Iterator[list[Image]]:
    """Yield faces in lists of bounded memory, however many and however large they are."""
    part: list[Image] = []
    pixels = 0
    for face in faces:
        part.append(face)
        pixels += face.shape[0] * face.shape[1]
        if len(part) == _MOST_FACES or pixels >= _MOST_PIXELS:
            yield part
            part, pixels = [], 0
    if part:
        yield part


def predict(loaded: Loaded, faces: list[Image], start_ns: int) -> list[Prediction]:
    """Recognise the expressions of checked BGR faces.

    Args:
        loaded: The variant that runs.
        faces: uint8 ``[H, W, 3]`` BGR each.
        start_ns: Time of perf_counter_ns at which the call began.

    Raises:
        EngineError: The engine fails, or its outputs are not probabilities.
    """
    bundle = loaded.bundle
    batch = to_batch(faces, bundle.crop)
    prepared = time.perf_counter_ns()
    probabilities, embeddings = run_checked(loaded, batch)
    inferred = time.perf_counter_ns()
    if bundle.recalibration is not None:
        probabilities = bundle.recalibration.apply(probabilities)
    tops = probabilities.argmax(1).tolist()
    rows = probabilities.tolist()
    unfamiliar = [False] * len(rows)
    if loaded.familiarity is not None:
        unfamiliar = loaded.familiarity.unfamiliar(batch, embeddings).tolist()
    reasons = [
        _abstain(bundle, face, row[top], is_odd)
        for face, row, top, is_odd in zip(batch, rows, tops, unfamiliar, strict=True)
    ]
    times = Times(
        (prepared - start_ns) / 1e6,
        (inferred - prepared) / 1e6,
        (time.perf_counter_ns() - inferred) / 1e6,
    )
    return [
        Prediction(
            label=bundle.labels[top],
            confidence=row[top],
            probabilities=dict(zip(bundle.labels, row, strict=True)),
            embedding=embedding,
            uncertain=reason is not None,
            reason=reason,
            times=times,
        )
        for top, row, embedding, reason in zip(tops, rows, embeddings, reasons, strict=True)
    ]


def is_flat(face: npt.NDArray[np.uint8]) -> bool:
    """Return True for a crop without contrast, uint8 ``[S, S, 3]``: no answer to it counts."""
    # Every 4th row is enough to detect a flat crop; this is on the latency path.
    deviations: list[float] = cv2.meanStdDev(face[::4])[1].ravel().tolist()
    return max(deviations) < FLAT_BELOW


def _abstain(
    bundle: Bundle, face: npt.NDArray[np.uint8], confidence: float, unfamiliar: bool
) -> str | None:
    """Return why an answer must not be acted on, or None."""
    if is_flat(face):
        return "no contrast: the picture is dark, saturated or covered"
    if unfamiliar:
        return REASON
    # 1e-6 allows for float32 rounding: the face that defined the threshold must pass it.
    if confidence < bundle.abstain_below - 1e-6:
        return (
            f"the model is unsure: confidence {confidence:.2f} is below {bundle.abstain_below:.2f}"
        )
    return None
