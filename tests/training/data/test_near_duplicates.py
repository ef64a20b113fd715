"""A photograph that was cropped or toned again is found; another photograph is not."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fer_edge.errors import DataError
from fer_edge.progress import silent
from fer_edge.training.data.faces import LabelledFace
from fer_edge.training.data.near_duplicates import (
    LEAST_CORRELATION,
    Photographs,
    near_duplicates,
)

Array = np.ndarray[Any, Any]
OTHERS = range(100, 112)


def photograph(seed: int) -> Array:
    """A picture of chance, as smooth as a face; float ``[96, 96]`` in 60..190."""
    chance = np.random.default_rng(seed).normal(0, 1, (96, 96))
    smooth = sum(cv2.GaussianBlur(chance, (0, 0), sigma) * sigma for sigma in (2, 5, 12))
    spread = (smooth - smooth.min()) / (smooth.max() - smooth.min())
    return np.asarray(60 + 130 * spread)


def face(picture: Array, name: str = "a") -> LabelledFace:
    pixels = np.clip(np.rint(picture), 0, 255).astype(np.uint8)
    return LabelledFace(cv2.imencode(".png", pixels)[1].tobytes(), "", name)


def cut(picture: Array, x: int = 12, y: int = 12, side: int = 72, size: int = 48) -> Array:
    window = picture[y : y + side, x : x + side]
    return cv2.resize(window, (size, size), interpolation=cv2.INTER_AREA)


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 99),
    x=st.integers(-5, 5),
    y=st.integers(-5, 5),
    side=st.integers(62, 80),
    size=st.sampled_from([48, 64]),
    gain=st.floats(0.5, 1.3),
    noise=st.floats(0, 3),
)
@example(seed=0, x=0, y=0, side=72, size=48, gain=1.0, noise=0.0)
def test_a_copy_is_found_in_another_crop_and_tone(
    seed: int, x: int, y: int, side: int, size: int, gain: float, noise: float
) -> None:
    picture = photograph(seed)
    corner = 48 - side // 2
    copy = gain * cut(picture, corner + x, corner + y, side, size)
    copy += noise * np.random.default_rng(seed).normal(0, 1, copy.shape)
    others = [face(cut(photograph(n))) for n in OTHERS]
    others.insert(seed % 12, face(cut(picture)))
    (match,) = near_duplicates([face(copy)], others, silent)
    assert match is not None
    assert match.of == seed % 12
    assert LEAST_CORRELATION <= match.correlation <= 1.0001


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 99))
def test_another_photograph_is_no_copy(seed: int) -> None:
    others = [face(cut(photograph(n))) for n in OTHERS]
    assert near_duplicates([face(cut(photograph(seed)))], others, silent) == [None]


def test_the_second_of_two_copies_is_the_copy() -> None:
    picture = photograph(1)
    faces = [face(cut(picture)), face(cut(photograph(2))), face(cut(picture, side=66))]
    first, second, third = near_duplicates(faces, [face(cut(photograph(3)))], silent)
    assert (first, second) == (None, None)
    assert third is not None
    assert third.of == 1  # counted after the one other face


def test_blank_pictures_and_mirror_images_are_no_copies() -> None:
    blank, picture = np.full((48, 48), 90.0), cut(photograph(4))
    faces = [face(blank), face(blank + 1), face(picture), face(picture[:, ::-1])]
    assert near_duplicates(faces, [], silent) == [None] * 4
    assert near_duplicates([], faces, silent) == []


def test_a_broken_picture_is_named() -> None:
    with pytest.raises(DataError, match="torn"):
        near_duplicates([LabelledFace(b"", "", "torn")], [], silent)


def test_all_copies_of_a_photograph_are_one_group() -> None:
    """A copy of a copy belongs to it too."""
    sides = {"a": 72, "b": 64, "c": 58}
    faces = {name: face(cut(photograph(1), side=side)) for name, side in sides.items()}
    faces |= {f"other {n}": face(cut(photograph(n))) for n in OTHERS}
    photographs = Photographs(faces, silent)
    for name in sides:
        assert photographs.of(name) == set(sides)
    assert photographs.of("other 103") == {"other 103"}


def test_a_picture_alone_is_its_own_photograph() -> None:
    assert Photographs({"a": face(cut(photograph(1)))}, silent).of("a") == {"a"}
