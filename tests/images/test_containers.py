"""Containers that promise more than they hold are refused; complete pictures are not."""

from __future__ import annotations

import contextlib
import struct
import zlib
from collections.abc import Callable

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fer_edge import InputError
from fer_edge.images.containers import MAX_CHUNKS, MAX_SCANS, PictureInfo, picture_info

Encode = Callable[..., bytes]
SUFFIXES = [".png", ".jpg", ".bmp", ".webp"]
PNG = b"\x89PNG\r\n\x1a\n"


def chunk(kind: bytes, content: bytes = b"", length: int | None = None) -> bytes:
    size = len(content) if length is None else length
    return struct.pack(">I", size) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def header(width: int = 64, height: int = 64) -> bytes:
    return chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_complete_picture_has_its_size(encode: Encode, suffix: str) -> None:
    assert picture_info(encode(suffix), "p") == PictureInfo(120, 90, 1)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize(
    "tail", [b"\0" * 2048, b"\xff\xd8\xff\xd9", b"MotionPhoto_Data" + b"x" * 99]
)
def test_data_after_the_end_are_accepted(encode: Encode, suffix: str, tail: bytes) -> None:
    assert picture_info(encode(suffix) + tail, "p") == PictureInfo(120, 90, 1)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99])
def test_a_picture_that_was_cut_off_is_refused(encode: Encode, suffix: str, share: float) -> None:
    data = encode(suffix)
    with pytest.raises(InputError, match=r"cut off|damaged|none of them|without"):
        picture_info(data[: int(len(data) * share)], "p")


@pytest.mark.parametrize("kind", [b"IDAT", b"tEXt", b"iCCP", b"abCd"])
@pytest.mark.parametrize("length", [0x7FFFFFFF, 0xFFFFFFFF, 0x80000000, 1000])
def test_a_png_chunk_longer_than_the_file_is_refused(kind: bytes, length: int) -> None:
    data = PNG + header() + chunk(kind, b"", length) + b"IEND"
    with pytest.raises(InputError, match="cut off"):
        picture_info(data, "p")


def test_a_png_of_too_many_chunks_is_refused() -> None:
    with pytest.raises(InputError, match="chunks"):
        picture_info(PNG + header() + chunk(b"IDAT") * MAX_CHUNKS + chunk(b"IEND"), "p")


@pytest.mark.parametrize(
    "data",
    [
        PNG + chunk(b"IDAT", b"x") + header() + chunk(b"IEND"),
        PNG + header() + chunk(b"IEND"),
        PNG + chunk(b"IHDR", b"\0" * 5) + chunk(b"IDAT", b"x") + chunk(b"IEND"),
    ],
    ids=["header second", "no pixels", "short header"],
)
def test_a_png_in_the_wrong_order_is_refused(data: bytes) -> None:
    with pytest.raises(InputError, match="PNG"):
        picture_info(data, "p")


def with_scans(data: bytes, count: int) -> bytes:
    """The JPEG with its last scan repeated."""
    at = data.rindex(b"\xff\xda")
    return data[:-2] + data[at:-2] * count + b"\xff\xd9"


def test_a_jpeg_of_too_many_scans_is_refused(encode: Encode) -> None:
    data = encode(".jpg", cv2.IMWRITE_JPEG_PROGRESSIVE, 1)
    picture_info(with_scans(data, 20), "p")
    with pytest.raises(InputError, match="scans"):
        picture_info(with_scans(data, MAX_SCANS), "p")


def test_a_progressive_jpeg_that_lacks_its_last_scans_is_refused(encode: Encode) -> None:
    data = encode(".jpg", cv2.IMWRITE_JPEG_PROGRESSIVE, 1)
    at = data.rindex(b"\xff\xda")
    with pytest.raises(InputError, match="cut off"):
        picture_info(data[:at] + b"\xff\xd9", "p")


def test_a_jpeg_of_two_sizes_is_refused(encode: Encode) -> None:
    data = encode(".jpg")
    at = data.index(b"\xff\xc0")
    frame = data[at : at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")]
    other = frame[:5] + struct.pack(">HH", 16, 16) + frame[9:]
    with pytest.raises(InputError, match="two sizes"):
        picture_info(data[:at] + other + data[at:], "p")


@pytest.mark.parametrize("size", [0xFFFFFFF0, 0x7FFFFFFF])
@pytest.mark.parametrize("at", [4, 16])
def test_a_webp_length_beyond_the_file_is_refused(encode: Encode, size: int, at: int) -> None:
    data = encode(".webp")
    with pytest.raises(InputError, match="WebP"):
        picture_info(data[:at] + struct.pack("<I", size) + data[at + 4 :], "p")


@pytest.mark.parametrize("kind", [b"VP8X", b"VP8 ", b"VP8L"])
@pytest.mark.parametrize("here", range(10))
@pytest.mark.parametrize("promised", [10, 1000])
def test_a_webp_that_ends_inside_its_header_is_refused(
    kind: bytes, here: int, promised: int
) -> None:
    body = b"WEBP" + kind + struct.pack("<I", promised) + bytes(here)
    with pytest.raises(InputError, match="cut off"):
        picture_info(b"RIFF" + struct.pack("<I", len(body)) + body, "p")


def test_an_os2_bmp_is_read(encode: Encode) -> None:
    pixels = b"\x7f" * (16 * 3 * 10)
    data = b"BM" + struct.pack("<IHHI", 26 + len(pixels), 0, 0, 26)
    data += struct.pack("<IHHHH", 12, 16, 10, 1, 24) + pixels
    assert picture_info(data, "p") == PictureInfo(16, 10)


@given(st.sampled_from(SUFFIXES), st.integers(0, 2**32), st.integers(0, 255), st.integers(0, 3))
def test_changed_bytes_never_raise_anything_else(
    encode: Encode, suffix: str, where: int, value: int, more: int
) -> None:
    data = bytearray(encode(suffix))
    for i in range(1 + more):
        data[(where + i * 7919) % len(data)] = value
    with contextlib.suppress(InputError):
        picture_info(bytes(data), "p")


@pytest.mark.parametrize("side", [1_000, 8_000])
def test_a_png_too_small_for_its_pixels_is_refused(side: int) -> None:
    pixels = zlib.compress(bytes(2_000))
    data = PNG + header(side, side) + chunk(b"IDAT", pixels) + chunk(b"IEND")
    with pytest.raises(InputError, match="cut off"):
        picture_info(data, "p")


@pytest.mark.parametrize("parts", [1, 100])
def test_a_png_whose_data_go_on_after_its_pixels_is_refused(parts: int) -> None:
    """libpng inflates all of them: 8 MiB of zeros, compressed, took 17 s."""
    pixels = zlib.compress(bytes(1 << 28), 9)
    step = -(-len(pixels) // parts)
    data = PNG + header()
    for start in range(0, len(pixels), step):
        data += chunk(b"IDAT", pixels[start : start + step])
    with pytest.raises(InputError, match="after its last row"):
        picture_info(data + chunk(b"IEND"), "p")


def test_the_walks_read_each_byte_once(encode: Encode) -> None:
    """A marker after 16 MiB of fill bytes took 1.6 s, one chunk of 64 MiB 7 s."""
    jpeg = encode(".jpg")
    filled = jpeg[:2] + b"\xff" * (16 << 20) + jpeg[2:]
    assert picture_info(filled, "p") == picture_info(jpeg, "p")
    packer = zlib.compressobj(9)
    rows = b"".join(packer.compress(bytes(1 << 20)) for _ in range(170))
    rows += packer.flush(zlib.Z_FULL_FLUSH)
    data = PNG + header(2_828, 2_828) + chunk(b"IDAT", rows + bytes(64 << 20)) + chunk(b"IEND")
    assert picture_info(data, "p").width == 2_828


def test_a_large_picture_that_does_not_compress_is_accepted() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (400, 500, 3), np.uint8)
    data = cv2.imencode(".png", noise)[1].tobytes()
    assert picture_info(data, "p") == PictureInfo(500, 400)


def test_a_flat_png_is_accepted() -> None:
    flat = np.full((4_000, 4_000, 3), 7, np.uint8)
    assert picture_info(cv2.imencode(".png", flat)[1].tobytes(), "p") == PictureInfo(4_000, 4_000)


@pytest.mark.parametrize("progressive", [0, 1])
def test_a_jpeg_too_small_for_its_pixels_is_refused(encode: Encode, progressive: int) -> None:
    data = encode(".jpg", cv2.IMWRITE_JPEG_PROGRESSIVE, progressive)
    at = next(data.index(m) for m in (b"\xff\xc0", b"\xff\xc2") if m in data)
    with pytest.raises(InputError, match="cut off"):
        picture_info(data[: at + 5] + struct.pack(">HH", 8_000, 8_000) + data[at + 9 :], "p")


@pytest.mark.parametrize("progressive", [0, 1])
@pytest.mark.parametrize("optimize", [0, 1])
def test_a_flat_jpeg_is_accepted(progressive: int, optimize: int) -> None:
    flat = np.full((800, 1_200, 3), 7, np.uint8)
    settings = [cv2.IMWRITE_JPEG_PROGRESSIVE, progressive, cv2.IMWRITE_JPEG_OPTIMIZE, optimize]
    data = cv2.imencode(".jpg", flat, settings)[1].tobytes()
    assert picture_info(data, "p") == PictureInfo(1_200, 800)
