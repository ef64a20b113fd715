"""Arrays, sizes and boxes on their way to the network's input; the rest is refused."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fer_edge.errors import InputError
from fer_edge.preprocess import (
    MAX_PIXELS,
    MAX_SIDE_PX,
    MIN_SIDE_PX,
    CropRule,
    Image,
    as_bgr,
    crop,
    resize_into,
    to_batch,
)


def picture(height: int = 60, width: int = 80) -> Image:
    noise = np.random.default_rng(1).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return np.asarray(cv2.GaussianBlur(noise, (9, 9), 0), dtype=np.uint8)


# Arrays


def test_bgr_is_taken_as_it_is_without_a_copy(face: Image) -> None:
    assert as_bgr(face) is face


def test_rgb_and_bgr_of_one_picture_give_the_same_batch(face: Image) -> None:
    rgb = np.ascontiguousarray(face[:, :, ::-1])
    batch = to_batch([as_bgr(face), as_bgr(rgb, "rgb")], CropRule(48))
    assert not np.array_equal(face, rgb)
    np.testing.assert_array_equal(batch[0], batch[1])


@pytest.mark.parametrize("colour", ["bgr", "rgb", "grey"])
@pytest.mark.parametrize("dims", [2, 3])
def test_grey_is_repeated_over_the_channels(face: Image, colour: Any, dims: int) -> None:
    grey = face[:, :, 0] if dims == 2 else face[:, :, :1]
    expected = np.repeat(face[:, :, :1], 3, axis=2)
    np.testing.assert_array_equal(as_bgr(grey, colour), expected)


def views(face: Image) -> dict[str, Image]:
    read_only = face.copy()
    read_only.flags.writeable = False
    return {
        "every other pixel": face[::2, ::2],
        "mirrored": face[:, ::-1],
        "upside down": face[::-1],
        "channels reversed": face[:, :, ::-1],
        "transposed": face.transpose(1, 0, 2),
        "Fortran order": np.asfortranarray(face),
        "read-only": read_only,
        "broadcast": np.broadcast_to(face[:1], face.shape),
    }


@pytest.mark.parametrize("colour", ["bgr", "rgb"])
@pytest.mark.parametrize("kind", views(np.zeros((8, 8, 3), np.uint8)))
def test_any_memory_layout_gives_what_a_plain_copy_gives(
    face: Image, kind: str, colour: Any
) -> None:
    view = views(face)[kind]
    before = view.copy()
    batch = to_batch([as_bgr(view, colour), as_bgr(before.copy(), colour)], CropRule(32))
    np.testing.assert_array_equal(batch[0], batch[1])
    np.testing.assert_array_equal(view, before)


SUBCLASSES: dict[str, Callable[[Image], Any]] = {
    "OpenCV's Mat": cv2.Mat,
    "nothing masked": np.ma.masked_array,
    "record array": lambda face: face.view(np.recarray),
    "memory map": lambda face: face.view(np.memmap),
}


@pytest.mark.parametrize("colour", ["bgr", "rgb"])
@pytest.mark.parametrize("kind", SUBCLASSES)
def test_a_subclass_of_an_array_is_taken_as_its_pixels(face: Image, kind: str, colour: Any) -> None:
    taken = as_bgr(SUBCLASSES[kind](face), colour)
    assert type(taken) is np.ndarray
    np.testing.assert_array_equal(taken, as_bgr(face, colour))
    to_batch([crop(taken, (-5, -5, 60, 60))], CropRule(32))  # OpenCV reads it


def broadcast(*shape: int) -> Image:
    """An array of any size that takes one byte of memory."""
    return np.broadcast_to(np.uint8(0), shape)


NAN = np.full((48, 48, 3), np.nan, np.float32)
REFUSED: dict[str, tuple[object, str]] = {
    "None": (None, "NoneType"),
    "list": ([[0] * 48] * 48, "list"),
    "bytes": (b"abc", "bytes"),
    "float": (np.zeros((48, 48, 3)), "float64"),
    "float NaN": (NAN, "float32"),
    "uint16": (np.zeros((48, 48, 3), np.uint16), "uint16"),
    "int8": (np.zeros((48, 48, 3), np.int8), "int8"),
    "bool": (np.zeros((48, 48), bool), "bool"),
    "object": (np.full((48, 48, 3), None), "object"),
    "scalar": (np.array(3, np.uint8), "()"),
    "one dimension": (np.zeros(48, np.uint8), "(48,)"),
    "masked": (np.ma.masked_less(np.zeros((48, 48, 3), np.uint8), 9), "a masked array"),
    "batch": (np.zeros((2, 48, 48, 3), np.uint8), "(2, 48, 48, 3)"),
    "two channels": (np.zeros((48, 48, 2), np.uint8), "(48, 48, 2)"),
    "channels first": (np.zeros((3, 48, 48), np.uint8), "(3, 48, 48)"),
    "no channels": (np.zeros((48, 48, 0), np.uint8), "(48, 48, 0)"),
    "BGRA": (np.zeros((48, 48, 4), np.uint8), "(48, 48, 4)"),
    "empty": (np.zeros((0, 0, 3), np.uint8), "0x0"),
    "no height": (np.zeros((0, 48, 3), np.uint8), "48x0"),
    "1x1": (np.zeros((1, 1, 3), np.uint8), "1x1"),
    "too narrow": (np.zeros((48, MIN_SIDE_PX - 1), np.uint8), f"{MIN_SIDE_PX - 1}x48"),
    "20,000 squared": (broadcast(20_000, 20_000, 3), "20000x20000"),
    "20,000 squared grey": (broadcast(20_000, 20_000), "20000x20000"),
    "too long": (broadcast(8, MAX_SIDE_PX + 1, 3), f"{MAX_SIDE_PX + 1}x8"),
    "too many pixels": (broadcast(8001, 8000, 3), "8000x8001"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_refused_array_is_told_what_was_expected_and_what_came(kind: str) -> None:
    image, got = REFUSED[kind]
    with pytest.raises(InputError, match=r"(?s)^expected .*, got ") as caught:
        as_bgr(image)
    assert f"got {got}" in str(caught.value) or f"shape {got}" in str(caught.value)


# Frames of cameras that do not give BGR: the refusal ends with the line of Python that converts.
CAMERAS: dict[str, Any] = {
    "Y16": np.full((48, 64), 200 << 8, np.uint16),
    "floats in 0..1": np.full((48, 64, 3), 200 / 255, np.float32),
    "a mask": np.ones((48, 64), bool),
    "whole numbers": np.full((48, 64, 3), 200, np.int64),
    "BGRA": np.full((48, 64, 4), 200, np.uint8),
    "YUYV": np.full((48, 64, 2), 128, np.uint8),
    "channels first": np.full((3, 48, 64), 200, np.uint8),
    "a flat buffer": np.full(48 * 64 * 3, 200, np.uint8),
}


@pytest.mark.parametrize("kind", CAMERAS)
def test_a_frame_of_another_format_is_refused_with_its_conversion(kind: str) -> None:
    image = CAMERAS[kind]
    with pytest.raises(InputError) as caught:
        as_bgr(image)
    names = {"cv2": cv2, "image": image, "height": 48, "width": 64}
    converted = as_bgr(eval(str(caught.value).rsplit(": ", 1)[1], names))
    assert converted.shape == (48, 64, 3)
    expected = {"a mask": 255, "YUYV": 130}.get(kind, 200)
    np.testing.assert_allclose(converted, expected, atol=1)


def test_the_smallest_and_the_largest_allowed_sizes_are_taken() -> None:
    assert as_bgr(np.zeros((MIN_SIDE_PX, MIN_SIDE_PX, 3), np.uint8)).shape[0] == MIN_SIDE_PX
    largest = broadcast(8000, MAX_PIXELS // 8000, 3)
    assert as_bgr(largest) is largest


@pytest.mark.parametrize("colour", ["BGR", "gray", "", None])
def test_an_unknown_colour_order_is_refused(face: Image, colour: Any) -> None:
    with pytest.raises(InputError, match="expected colour"):
        as_bgr(face, colour)


def test_a_colour_picture_is_not_taken_for_grey(face: Image) -> None:
    with pytest.raises(InputError, match="expected a grey image"):
        as_bgr(face, "grey")


# Resizing


def test_a_face_of_the_right_size_is_not_changed() -> None:
    face = picture(48, 48)
    np.testing.assert_array_equal(to_batch([face], CropRule(48))[0], face)


def reference(face: Image, size: int) -> Image:
    """The kernel as documented: halve while a side is twice too long, then fit, all bilinear."""
    height, width = face.shape[:2]
    while max(height, width) >= 2 * size:
        height //= 2 if height >= 2 * size else 1
        width //= 2 if width >= 2 * size else 1
        face = np.asarray(cv2.resize(face, (width, height)), dtype=np.uint8)
    return np.asarray(cv2.resize(face, (size, size)), dtype=np.uint8)


@pytest.mark.parametrize(
    "shape", [(96, 96), (95, 70), (20, 20), (47, 49), (48, 200), (400, 400), (192, 130), (8, 3072)]
)
def test_the_kernel_halves_and_then_fits(shape: tuple[int, int]) -> None:
    face = picture(*shape)
    out = np.zeros((48, 48, 3), np.uint8)
    resize_into(face, out)
    np.testing.assert_array_equal(out, reference(face, 48))
    np.testing.assert_array_equal(to_batch([face], CropRule(48))[0], out)


@pytest.mark.parametrize("halvings", [1, 2, 3])
def test_a_halving_is_the_mean_of_four_pixels(halvings: int) -> None:
    face = picture(48 << halvings, 48 << halvings)
    expected = face.astype(np.uint16)
    for _ in range(halvings):
        rows = expected[::2] + expected[1::2]
        expected = (rows[:, ::2] + rows[:, 1::2] + 2) // 4
    np.testing.assert_array_equal(to_batch([face], CropRule(48))[0], expected)


@pytest.mark.parametrize("size", [96, 97, 130, 191, 192, 333, 384, 1000])
def test_no_pixel_is_skipped_when_a_large_face_shrinks(size: int) -> None:
    """Stripes of one pixel become grey; a kernel that skips would leave them black and white."""
    rows = np.zeros((size, size, 3), np.uint8)
    rows[::2] = 255
    for face in (rows, rows.transpose(1, 0, 2)):
        shrunk = to_batch([face], CropRule(24))[0].astype(int)
        assert abs(shrunk - 128).max() < 48


def test_one_face_looks_alike_from_near_and_from_far() -> None:
    scene = np.asarray(cv2.GaussianBlur(picture(400, 400), (0, 0), 12), dtype=np.uint8)
    far = np.asarray(cv2.resize(scene, (100, 100), interpolation=cv2.INTER_AREA), dtype=np.uint8)
    near, away = to_batch([scene, far], CropRule(48)).astype(int)
    assert abs(near - away).max() <= 3


def test_a_batch_is_contiguous_and_in_order() -> None:
    faces = [np.full((20 + i, 30, 3), i * 50, np.uint8) for i in range(4)]
    batch = to_batch(faces, CropRule(16))
    assert batch.shape == (4, 16, 16, 3)
    assert batch.dtype == np.uint8
    assert batch.flags.c_contiguous
    assert [int(face.max()) for face in batch] == [0, 50, 100, 150]
    assert to_batch([], CropRule(16)).shape == (0, 16, 16, 3)


# Boxes


def padded(image: Image, by: int = 100) -> Image:
    return np.pad(image, ((by, by), (by, by), (0, 0)), mode="edge")


@pytest.mark.parametrize(
    "box",
    [(10, 10, 20, 20), (-10, 5, 30, 30), (70, 50, 30, 30), (-5, -5, 90, 90), (79, 59, 40, 40)],
)
def test_a_square_box_is_cut_out_and_edges_are_replicated(box: tuple[int, int, int, int]) -> None:
    x, y, w, h = box
    expected = padded(picture())[100 + y : 100 + y + h, 100 + x : 100 + x + w]
    np.testing.assert_array_equal(crop(picture(), box), expected)


def test_a_long_box_is_widened_to_a_square_around_its_middle() -> None:
    expected = padded(picture())[100 + 10 : 100 + 40, 100 + 15 : 100 + 45]
    np.testing.assert_array_equal(crop(picture(), (25, 10, 10, 30)), expected)
    expected = padded(picture())[100 + 0 : 100 + 30, 100 + 10 : 100 + 40]
    np.testing.assert_array_equal(crop(picture(), (10, 10, 30, 10)), expected)


def test_the_margin_is_added_on_each_side() -> None:
    expected = padded(picture())[100 + 15 : 100 + 45, 100 + 15 : 100 + 45]
    np.testing.assert_array_equal(crop(picture(), (20, 20, 20, 20), margin=0.25), expected)


@pytest.mark.parametrize(
    "box",
    [
        (80, 0, 10, 10),
        (0, 60, 10, 10),
        (-10, 0, 10, 10),
        (0, -10, 10, 10),
        (500, 500, 10, 10),
        (10, 10, 0, 10),
        (10, 10, 10, 0),
        (30, 30, -10, -10),
        (float("nan"), 0, 10, 10),
        (0, 0, float("nan"), 10),
        (0, 0, float("inf"), 10),
        (0, 0, 10, float("-inf")),
        (0, 0, 1e300, 1e300),
        (10**400, 0, 10, 10),
        (0, 0, 10, 10**400),
        (0, 0, 10),
        (0, 0, 10, 10, 10),
        (),
        None,
        7,
        "face",
        (0, 0, None, 10),
        (0, 0, "wide", 10),
        ("1", "2", "30", "40"),
        (0, 0, b"10", 10),
        (0, 0, "10", 10, 10),
        np.array(["1", "2", "30", "40"]),
    ],
    ids=lambda box: str(box)[:24],
)
def test_a_box_that_holds_nothing_is_refused(box: Any) -> None:
    with pytest.raises(InputError, match="expected a box"):
        crop(picture(), box)


edge = st.integers(-120, 120)
length = st.integers(-2, 150)
margins = st.floats(0, 2)


@given(edge, edge, length, length, margins)
def test_a_crop_is_always_square_and_never_empty(
    x: int, y: int, w: int, h: int, margin: float
) -> None:
    overlaps = w > 0 and h > 0 and -w < x < 80 and -h < y < 60
    try:
        face = crop(picture(), (x, y, w, h), margin)
    except InputError:
        assert not overlaps or max(w, h) < MIN_SIDE_PX
        return
    assert overlaps
    assert face.shape[0] == face.shape[1] >= max(w, h)
    assert face.shape[2] == 3
    assert face.dtype == np.uint8


@given(st.floats(-120, 120), st.floats(-120, 120), st.floats(-2, 150), st.floats(-2, 150), margins)
@example(79.6, 0, 50, 50, 0)
@example(-49.8, 0, 50, 50, 0)
@example(0, 59.7, 50, 50, 0)
def test_a_box_between_pixels_shows_only_pixels_of_the_image(
    x: float, y: float, w: float, h: float, margin: float
) -> None:
    image = np.full((60, 80, 3), 200, np.uint8)
    try:
        face = crop(image, (x, y, w, h), margin)  # type: ignore[arg-type]
    except InputError:
        return
    assert face.shape[0] == face.shape[1] > 0
    assert (face == 200).all()


HUGE_BOX = """
import resource
import numpy as np
from fer_edge.errors import InputError
from fer_edge.preprocess import crop
resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))
try:
    crop(np.zeros((60, 80, 3), np.uint8), {box}, {margin})
except InputError:
    print("refused")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on memory")
@pytest.mark.parametrize(("box", "margin"), [((0, 0, 65_000, 65_000), 0), ((0, 0, 30_000, 1), 2)])
def test_a_box_cannot_ask_for_gigabytes(box: tuple[int, ...], margin: int) -> None:
    script = HUGE_BOX.format(box=box, margin=margin)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout == "refused\n", done.stderr[-500:]
