"""Raw pixels of recorders in every encoding, and values that do not fit."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from fer_edge import InputError
from fer_edge.fleet.picture_messages import pixels

BGR = np.full((8, 12, 3), (200, 100, 20), np.uint8)


def test_colours_come_out_as_bgr() -> None:
    rgb = np.ascontiguousarray(BGR[..., ::-1])
    for encoding, image in {
        "bgr8": BGR,
        "rgb8": rgb,
        "bgra8": cv2.cvtColor(BGR, cv2.COLOR_BGR2BGRA),
        "rgba8": cv2.cvtColor(BGR, cv2.COLOR_BGR2RGBA),
    }.items():
        found = pixels(image.tobytes(), 12, 8, 0, encoding)
        np.testing.assert_array_equal(found, BGR)


@pytest.mark.parametrize("pattern", ["rggb", "bggr", "gbrg", "grbg"])
def test_bayer_patterns_are_named_by_their_first_line(pattern: str) -> None:
    channels = {"b": 0, "g": 1, "r": 2}
    mosaic = np.empty((8, 12), np.uint8)
    for place, letter in enumerate(pattern):
        row, column = divmod(place, 2)
        mosaic[row::2, column::2] = BGR[0, 0, channels[letter]]
    found = pixels(mosaic.tobytes(), 12, 8, 12, f"bayer_{pattern}8")
    np.testing.assert_array_equal(found[2:-2, 2:-2], BGR[2:-2, 2:-2])


@pytest.mark.parametrize(("encoding", "code"), [("yuv422_yuy2", "YUY2"), ("yuv422", "UYVY")])
def test_yuv_comes_out_as_bgr(encoding: str, code: str) -> None:
    packed = cv2.cvtColor(BGR, getattr(cv2, f"COLOR_BGR2YUV_{code}"))
    found = pixels(packed.tobytes(), 12, 8, 24, encoding)
    assert np.abs(found.astype(int) - BGR).max() <= 3


def test_lines_may_be_padded_and_deep() -> None:
    padded = np.zeros((8, 20), np.uint8)
    padded[:, :12] = 7
    np.testing.assert_array_equal(pixels(padded.tobytes(), 12, 8, 20, "mono8"), 7)
    short = padded.tobytes()[:-8]  # the last line needs no padding
    np.testing.assert_array_equal(pixels(short, 12, 8, 20, "mono8"), 7)
    for order, big_endian in (("<u2", False), (">u2", True)):
        deep = np.full((8, 12), 0x1234, order)
        found = pixels(deep.tobytes(), 12, 8, 24, "mono16", big_endian=big_endian)
        np.testing.assert_array_equal(found, 0x12)


@pytest.mark.parametrize(
    ("width", "height", "step", "encoding"),
    [
        (12, 9, 36, "bgr8"),
        (13, 8, 36, "bgr8"),
        (12, 8, 35, "bgr8"),
        (12, 8, 10**9, "bgr8"),
        (12, 8, -36, "bgr8"),
        (0, 8, 0, "bgr8"),
        (2**32 - 1, 2**32 - 1, 0, "mono8"),
        (16384, 16384, 0, "mono8"),
        (12, 8, 36, "32FC1"),
        (12, 8, 36, "\0" * 1000),
    ],
)
def test_values_that_do_not_fit_are_refused(
    width: int, height: int, step: int, encoding: str
) -> None:
    with pytest.raises(InputError):
        pixels(BGR.tobytes(), width, height, step, encoding)
