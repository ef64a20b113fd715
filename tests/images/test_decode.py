"""Complete pictures are decoded upright; pictures with missing data are refused, silently."""

from __future__ import annotations

import struct
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest

from fer_edge import InputError
from fer_edge.images.containers import picture_info
from fer_edge.images.decode import decode
from fer_edge.images.exif import exif_orientation
from fer_edge.preprocess import Image

Encode = Callable[..., bytes]


def decoded(data: bytes) -> Image:
    return decode(data, picture_info(data, "p"), "p")


def cut_in_the_middle(jpeg: bytes, share: float) -> bytes:
    """The first part of the scan, and an end as if nothing were missing."""
    scan = jpeg.index(b"\xff\xda") + 14
    return jpeg[: scan + int((len(jpeg) - scan) * share)] + b"\xff\xd9"


@pytest.mark.parametrize("suffix", [".png", ".bmp"])
def test_lossless_pictures_come_back(encode: Encode, picture: Image, suffix: str) -> None:
    assert np.array_equal(decoded(encode(suffix)), picture)


@pytest.mark.parametrize("progressive", [0, 1])
@pytest.mark.parametrize("restart", [0, 2])
@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_a_jpeg_with_missing_data_is_refused_and_prints_nothing(
    encode: Encode, capfd: pytest.CaptureFixture[str], progressive: int, restart: int, share: float
) -> None:
    data = encode(
        ".jpg", cv2.IMWRITE_JPEG_PROGRESSIVE, progressive, cv2.IMWRITE_JPEG_RST_INTERVAL, restart
    )
    assert decoded(data).shape == (90, 120, 3)
    with pytest.raises(InputError, match=r"damaged|cut off"):
        decoded(cut_in_the_middle(data, share))
    assert capfd.readouterr().err == ""


def test_a_hole_of_zeros_is_refused(encode: Encode) -> None:
    data = encode(".jpg")
    middle = len(data) // 2
    with pytest.raises(InputError, match="damaged"):
        decoded(data[:middle] + bytes(400) + data[middle + 400 :])


@pytest.mark.parametrize("pad", [b"\0", b"\0\0"])
def test_padding_before_the_end_is_accepted(encode: Encode, pad: bytes) -> None:
    data = encode(".jpg")
    assert np.array_equal(decoded(data[:-2] + pad + data[-2:]), decoded(data))


def test_threads_are_not_blamed_for_their_neighbours(encode: Encode) -> None:
    good = encode(".jpg")
    bad = cut_in_the_middle(good, 0.6)

    def refused(data: bytes) -> bool:
        try:
            decoded(data)
        except InputError:
            return True
        return False

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(refused, [good, bad] * 200)) == [False, True] * 200


def exif(orientation: int) -> bytes:
    return b"II*\0\x08\0\0\0\x01\0" + struct.pack("<HHIHH", 0x0112, 3, 1, orientation, 0) + bytes(4)


def jpeg_with(orientation: int, jpeg: bytes) -> bytes:
    content = b"Exif\0\0" + exif(orientation)
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(content) + 2) + content + jpeg[2:]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_orientation_is_that_of_opencv(encode: Encode, orientation: int) -> None:
    data = jpeg_with(orientation, encode(".jpg"))
    expected = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert np.array_equal(decoded(data), expected)


@pytest.mark.parametrize(("first", "second"), [(6, 1), (1, 6), (3, 8), (9, 6)])
def test_the_first_orientation_of_a_jpeg_counts(encode: Encode, first: int, second: int) -> None:
    data = jpeg_with(first, jpeg_with(second, encode(".jpg")))
    expected = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert np.array_equal(decoded(data), expected)


def test_the_first_orientation_of_a_png_counts(encode: Encode) -> None:
    png = encode(".png")
    chunks = (struct.pack(">I4s", len(exif(6)), b"eXIf") + exif(o) + bytes(4) for o in (6, 1))
    assert picture_info(png[:33] + b"".join(chunks) + png[33:], "p").orientation == 6


@pytest.mark.parametrize("order", "<>")
def test_an_orientation_behind_many_entries_is_read(order: str) -> None:
    head = (b"II" if order == "<" else b"MM") + struct.pack(order + "HIH", 42, 8, 5_001)
    maker = struct.pack(order + "HHI4s", 0x010F, 2, 4, b"abc")
    entry = struct.pack(order + "HHIHH", 0x0112, 3, 1, 6, 0)
    assert exif_orientation(head + maker * 5_000 + entry) == 6


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize(("value", "orientation"), [(6, 6), (0, 1), (9, 1), (0x60000, 1)])
def test_an_orientation_of_four_bytes_is_read(order: str, value: int, orientation: int) -> None:
    head = (b"II" if order == "<" else b"MM") + struct.pack(order + "HIH", 42, 8, 1)
    assert exif_orientation(head + struct.pack(order + "HHII", 0x0112, 4, 1, value)) == orientation


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_webp_is_turned_like_a_jpeg(encode: Encode, orientation: int) -> None:
    plain = encode(".webp", cv2.IMWRITE_WEBP_QUALITY, 100)
    content = exif(orientation)
    chunk = b"EXIF" + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)
    extended = b"VP8X" + struct.pack("<IB3x", 10, 0x08) + struct.pack("<I", 119)[:3]
    extended += struct.pack("<I", 89)[:3]
    body = b"WEBP" + extended + plain[12:] + chunk
    webp = b"RIFF" + struct.pack("<I", len(body)) + body
    jpeg = decoded(jpeg_with(orientation, encode(".jpg", cv2.IMWRITE_JPEG_QUALITY, 100)))
    assert decoded(webp).shape == jpeg.shape
    assert np.abs(decoded(webp).astype(int) - jpeg).mean() < 12


@pytest.mark.parametrize("tiff", [b"", b"II", b"XX*\0", b"II*\0\xff\xff\xff\xff", exif(9), exif(0)])
def test_a_damaged_orientation_is_upright(tiff: bytes) -> None:
    assert exif_orientation(tiff) == 1
