"""Faces that verify a conversion without the user's data: variations of the shipped composites.

A verdict needs thousands of faces, and a composite is blurred: on it, rounding changes decisions
two times as often as on a photograph (docs/explanation/parity.md has the figures). Each judging
face blends a composite with another one of its class, moves it, and gives it the detail, contrast
and brightness that photographs of FER2013 have.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import cv2
import numpy as np
import numpy.typing as npt

from fer_edge.preprocess import Image
from fer_edge.training.data.faces import LabelledFace

JUDGING_FACES = 4_000
"""Number of judging faces.

The interval of a change of accuracy is then narrow enough for a verdict if 1.6 % of all decisions
flip. Of 2,400 answered decisions, five may flip and still pass 99.5 %.
"""
_SEED = 2026
_ADMIXTURE = 0.4
"""Largest share (0..1) of the second composite in a blend."""
_TURN_DEGREES, _ZOOM, _SHIFT_SHARE = 8.0, 0.08, 0.04
"""Largest turn in degrees, change of scale and shift as shares (0..1) of the side."""
_BLUR_SHARE = 1 / 32
"""Share (0..1) of the side: deviation of the blur that isolates detail."""
_DETAIL, _DETAIL_SPREAD = 0.45, 0.25
"""Median share (0..1) of detail in the contrast, and its spread as a logarithm. FER2013 has 0.33
after its own blur; 0.45 gives the same mean change of a probability under bf16 and int8."""
_MOST_DETAIL = 0.8
_BRIGHTNESS, _CONTRAST = (90.0, 165.0), (35.0, 72.0)
"""Lowest and highest mean and standard deviation of the pixels. They are the middle 80 % of
FER2013."""

_Grey = npt.NDArray[np.float64]


def judging_faces(composites: Sequence[LabelledFace], count: int) -> list[tuple[Image, str]]:
    """Make faces from composites, the same ones on every call.

    Classes take turns, so that each beginning of the list is balanced.

    Args:
        composites: Composite faces of one size, with their labels.
        count: Number of faces to make.

    Returns:
        Faces, uint8 ``[H, W, 3]`` BGR, and their labels.
    """
    pools: dict[str, list[_Grey]] = {}
    for face in composites:
        grey = cv2.cvtColor(face.read(), cv2.COLOR_BGR2GRAY).astype(np.float64)
        pools.setdefault(face.label, []).append(_normal(grey))
    rng = np.random.default_rng(_SEED)
    labels = sorted(pools)
    return [
        (_photograph(_blend(pools[label], rng), rng), label)
        for label in (labels[i % len(labels)] for i in range(count))
    ]


def moved_faces(faces: Sequence[LabelledFace], count: int) -> Iterator[tuple[Image, str]]:
    """Make faces from few, the same ones on every call: mirrored, turned, scaled and shifted.

    Args:
        faces: Faces with their labels, of any size.
        count: Number of faces to make; the first ones are the faces themselves.

    Yields:
        Faces, uint8 ``[H, W, 3]`` BGR, with their labels.
    """
    rng = np.random.default_rng(_SEED)
    originals: list[tuple[Image, str]] = [(face.read(), face.label) for face in faces]
    yield from originals
    for i in range(count - len(faces)):
        image, label = originals[i % len(faces)]
        image = image[:, ::-1] if rng.random() < 0.5 else image
        size = (image.shape[1], image.shape[0])
        moved = cv2.warpAffine(
            np.ascontiguousarray(image), _move(size, rng), size, borderMode=cv2.BORDER_REPLICATE
        )
        yield np.asarray(moved, np.uint8), label


def _move(size: tuple[int, int], rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """Draw a rotation, scale and shift for an image size."""
    turn, zoom = rng.uniform(-_TURN_DEGREES, _TURN_DEGREES), 1 + rng.uniform(-_ZOOM, _ZOOM)
    move = cv2.getRotationMatrix2D(((size[0] - 1) / 2, (size[1] - 1) / 2), turn, zoom)
    move[:, 2] += size[1] * rng.uniform(-_SHIFT_SHARE, _SHIFT_SHARE, 2)
    return np.asarray(move)


def _normal(grey: _Grey) -> _Grey:
    """Return the image with mean 0 and deviation 1."""
    return np.asarray((grey - grey.mean()) / max(grey.std(), 1e-6))


def _blend(pool: Sequence[_Grey], rng: np.random.Generator) -> _Grey:
    """Blend two composites of one class, each mirrored or not."""
    one, other = (_mirrored(pool[int(rng.integers(len(pool)))], rng) for _ in range(2))
    share = rng.uniform(0, _ADMIXTURE)
    return (1 - share) * one + share * other


def _mirrored(grey: _Grey, rng: np.random.Generator) -> _Grey:
    return grey[:, ::-1] if rng.random() < 0.5 else grey


def _photograph(grey: _Grey, rng: np.random.Generator) -> Image:
    """Move the face, and give it a photograph's detail, contrast and brightness."""
    side = grey.shape[0]
    size = (grey.shape[1], side)
    move = _move(size, rng)
    moved = cv2.warpAffine(np.ascontiguousarray(grey), move, size, borderMode=cv2.BORDER_REPLICATE)
    form = cv2.GaussianBlur(moved, (0, 0), side * _BLUR_SHARE)
    detail = moved - form
    share = min(_DETAIL * np.exp(rng.normal(0, _DETAIL_SPREAD)), _MOST_DETAIL)
    strength = share / np.sqrt(1 - share**2) * form.std() / max(detail.std(), 1e-6)
    pixels = rng.uniform(*_BRIGHTNESS) + rng.uniform(*_CONTRAST) * _normal(form + strength * detail)
    return np.repeat(np.clip(pixels, 0, 255).astype(np.uint8)[..., None], 3, axis=2)
