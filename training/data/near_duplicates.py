"""Near duplicates: copies of one photograph that were cropped or toned in another way.

A copy differs in its pixels, and its hash says nothing. Each picture is embedded as a normalised
thumbnail of its middle, and searched for in windows of several sizes and places of the others. The
nearest candidates are registered, pixel on pixel; the correlation of what both show decides.

The embedding of an expression network cannot do this: it is alike for two smiles of two people.
Faces of different people in FER2013 have cosines up to 0.998 in the model of decision 62.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from fer_edge.preprocess import Image
from fer_edge.progress import Step
from fer_edge.training.data.faces import LabelledFace

LEAST_CORRELATION = 0.95
"""Least correlation of the pixels of two pictures that are near duplicates.

Of 600 faces of FER2013's PublicTest, 147 that are not pixel-identical to a training face have a
match above it. All of these pairs were looked at, and show one photograph each; the lowest has
0.960. The first pair of two people has 0.944. Of 18 pairs between 0.90 and 0.95, 4 show one
photograph.
"""
_SIDE_PX = 48
"""Side of the pictures that are compared; FER2013's own."""
_MIDDLE_PX = 36
"""Side of the middle of a picture, which is searched for in the others."""
_MARGIN_PX = (_SIDE_PX - _MIDDLE_PX) // 2
_GRID = 12
"""Side of a thumbnail."""
_SIZES_PX = (29, 31, 34, 36, 39, 41, 45)
_SHIFTS_PX = (-6, -3, 0, 3, 6)
"""Sides of the windows, and their distances from the middle. 6 px find 3 more in 200 faces."""
_CANDIDATES, _LEAST_COSINE = 5, 0.8
"""Nearest pictures that are registered, and least cosine of their thumbnails."""
_LEAST_OVERLAP = 0.5
"""Least share (0..1) of the picture that both show."""
_INSIDE = 0.999
"""Share (0..1) of a pixel that is within the picture. The rest of it is black."""
_BLOCK = 1 << 23
"""Cosines that are held at once: 32 MiB."""
_STOP = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 60, 1e-5)

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class NearDuplicate:
    """Copy of another picture.

    Attributes:
        of: Index of the picture that it is a copy of.
        correlation: Correlation (0..1) of the pixels that both show.
    """

    of: int
    correlation: float


def near_duplicates(
    faces: Sequence[LabelledFace],
    others: Sequence[LabelledFace],
    step: Step,
    *,
    within: bool = True,
) -> list[NearDuplicate | None]:
    """Return for each face another, or an earlier one, that shows the same photograph.

    A mirror image is not a near duplicate. Memory grows by 0.6 kB a face. A core takes about two
    minutes for FER2013's PublicTest against its training rows.

    Args:
        faces: Faces to judge.
        others: Faces to compare with, such as those that a model was trained on.
        step: Receives progress.
        within: Compare with earlier faces too.

    Returns:
        A match of each face, or None. Its index counts the others first, then the faces.

    Raises:
        DataError: A picture is broken.
    """
    known = [*others, *(faces if within else ())]
    thumbnails = _thumbnails(known, step)
    matches = []
    for i, face in enumerate(faces):
        earlier = thumbnails[: len(others) + i]  # without ``within``, there are others alone
        matches.append(next(_matches(_grey(face.read()), known, earlier), None))
        if i % 20 == 0 or i + 1 == len(faces):
            step("looking for near duplicates", i + 1, len(faces))
    return matches


class Photographs:
    """Pictures, and which of them show the same photograph.

    Copies are searched for when a photograph is asked for: 30 ms a picture among 28,000.

    Args:
        faces: Pictures by name.
        step: Receives progress.

    Raises:
        DataError: A picture is broken.
    """

    def __init__(self, faces: Mapping[str, LabelledFace], step: Step) -> None:
        self._names, self._faces = list(faces), list(faces.values())
        self._index = {name: i for i, name in enumerate(self._names)}
        self._thumbnails = _thumbnails(self._faces, step)
        self._copies: dict[int, list[int]] = {}

    def of(self, name: str) -> set[str]:
        """Return the names of a picture, of its copies, of their copies and so on."""
        group, new = {self._index[name]}, [self._index[name]]
        while new:
            more = set(self._copies_of(new.pop())) - group
            group |= more
            new += more
        return {self._names[i] for i in group}

    def _copies_of(self, index: int) -> list[int]:
        if index not in self._copies:
            picture = _grey(self._faces[index].read())
            matches = _matches(picture, self._faces, self._thumbnails, index)
            self._copies[index] = [match.of for match in matches]
        return self._copies[index]


def _matches(
    picture: Image, known: Sequence[LabelledFace], thumbnails: Floats, own: int | None = None
) -> Iterator[NearDuplicate]:
    """Yield the copies of a picture among known ones, except its own index."""
    windows = list(_windows())
    seen = np.stack([_thumbnail(picture[y : y + s, x : x + s]) for x, y, s in windows])
    for index in _nearest(seen, thumbnails, own):
        x, y, side = windows[int((seen @ thumbnails[index]).argmax())]
        correlation = _registered(_grey(known[index].read()), picture, x, y, side)
        if correlation >= LEAST_CORRELATION:
            yield NearDuplicate(index, correlation)


def _nearest(seen: Floats, thumbnails: Floats, own: int | None) -> list[int]:
    """Return the indices of the thumbnails that are most similar to any window, except ``own``."""
    rows = max(_BLOCK // len(seen), 1)
    cosines = np.concatenate(
        [np.zeros(0, np.float32)]
        + [(thumbnails[i : i + rows] @ seen.T).max(1) for i in range(0, len(thumbnails), rows)]
    )
    if own is not None:
        cosines[own] = -1
    count = min(_CANDIDATES, len(cosines))
    if count == 0:
        return []
    nearest = np.argpartition(-cosines, count - 1)[:count].tolist()
    order = sorted(nearest, key=lambda i: (-cosines[i], i))
    return [i for i in order if cosines[i] >= _LEAST_COSINE]


def _registered(template: Image, picture: Image, x: int, y: int, side: int) -> float:
    """Return the correlation of two pictures after registration; 0 if they do not overlap.

    The registration is affine and maximises the enhanced correlation coefficient (Evangelidis and
    Psarakis, 2008). It begins where the window at x, y shows the middle of the template.
    """
    scale = side / _MIDDLE_PX
    start = np.array(
        [[scale, 0, x - scale * _MARGIN_PX], [0, scale, y - scale * _MARGIN_PX]], np.float32
    )
    one, other = template.astype(np.float32), picture.astype(np.float32)
    try:
        _, warp = cv2.findTransformECC(one, other, start, cv2.MOTION_AFFINE, _STOP, None, 3)
    except cv2.error:  # it does not converge
        return 0.0
    shown = _moved(np.ones_like(other), warp) > _INSIDE
    if shown.mean() < _LEAST_OVERLAP:
        return 0.0
    return float(_unit(one[shown]) @ _unit(_moved(other, warp)[shown]))


def _moved(picture: Floats, warp: Floats) -> Floats:
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.asarray(cv2.warpAffine(picture, warp, (_SIDE_PX, _SIDE_PX), flags=flags))


def _windows() -> Iterator[tuple[int, int, int]]:
    """Yield left, top and side of each window."""
    for side in _SIZES_PX:
        free = _SIDE_PX - side
        places = [min(max(round(free / 2) + shift, 0), free) for shift in _SHIFTS_PX]
        for y in dict.fromkeys(places):
            for x in dict.fromkeys(places):
                yield x, y, side


def _grey(image: Image) -> Image:
    grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    if grey.shape != (_SIDE_PX, _SIDE_PX):
        grey = cv2.resize(grey, (_SIDE_PX, _SIDE_PX), interpolation=cv2.INTER_AREA)
    return np.asarray(grey, np.uint8)


def _middle(picture: Image) -> Image:
    return picture[_MARGIN_PX:-_MARGIN_PX, _MARGIN_PX:-_MARGIN_PX]


def _thumbnails(faces: Sequence[LabelledFace], step: Step) -> Floats:
    """Return a thumbnail of the middle of each picture, ``[N, 144]``."""
    thumbnails = np.zeros((len(faces), _GRID**2), np.float32)
    for i, face in enumerate(faces):
        thumbnails[i] = _thumbnail(_middle(_grey(face.read())))
        if i % 500 == 0:
            step("embedding pictures", i, len(faces))
    return thumbnails


def _thumbnail(picture: Image) -> Floats:
    """Return a thumbnail with mean 0 and length 1. Brightness and contrast do not change it."""
    small = cv2.resize(picture, (_GRID, _GRID), interpolation=cv2.INTER_AREA)
    return _unit(small.astype(np.float32).ravel())


def _unit(values: npt.NDArray[Any]) -> Floats:
    centred = values - values.mean()
    return np.asarray(centred / max(float(np.linalg.norm(centred)), 1e-3), np.float32)
