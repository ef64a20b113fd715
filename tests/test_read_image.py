"""Image files: formats, orientation, damaged files and hostile headers."""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fer_edge import preprocess
from fer_edge.errors import InputError
from fer_edge.preprocess import (
    MAX_PIXELS,
    MAX_SIDE_PX,
    Image,
    decode_image,
    read_image,
)

FORMATS = (".jpg", ".png", ".bmp", ".webp")


def picture(height: int = 60, width: int = 80) -> Image:
    noise = np.random.default_rng(1).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return np.asarray(cv2.GaussianBlur(noise, (9, 9), 0), dtype=np.uint8)


def encoded(ending: str, image: npt.NDArray[Any] | None = None, *options: int) -> bytes:
    done, data = cv2.imencode(ending, picture() if image is None else image, list(options))
    assert done
    return data.tobytes()


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_that_claims(width: int, height: int) -> bytes:
    return (
        b"\x89PNG\r\n\x1a\n"
        + png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
        + png_chunk(b"IDAT", zlib.compress(b"\0" * 1000))
        + png_chunk(b"IEND", b"")
    )


def exif(orientation: int) -> bytes:
    entry = struct.pack("<HHIHH", 0x112, 3, 1, orientation, 0)
    tiff = b"II*\0" + struct.pack("<IH", 8, 1) + entry + struct.pack("<I", 0)
    return b"\xff\xe1" + struct.pack(">H", 8 + len(tiff)) + b"Exif\0\0" + tiff


@pytest.mark.parametrize("ending", [".png", ".bmp"])
@pytest.mark.parametrize("as_type", [str, Path])
def test_a_lossless_file_is_read_as_it_was_written(
    tmp_path: Path, ending: str, as_type: type[str] | type[Path]
) -> None:
    path = tmp_path / f"face{ending}"
    path.write_bytes(encoded(ending))
    np.testing.assert_array_equal(read_image(as_type(path)), picture())


@pytest.mark.parametrize("ending", FORMATS)
def test_each_format_is_recognised_by_its_content(tmp_path: Path, ending: str) -> None:
    path = tmp_path / "face.dat"
    path.write_bytes(encoded(ending))
    image = read_image(path)
    assert image.dtype == np.uint8
    assert image.shape == (60, 80, 3)
    assert np.abs(image.astype(int) - picture()).mean() < 8


def test_alpha_is_dropped_and_grey_is_repeated() -> None:
    alpha = np.dstack([picture(), np.full((60, 80), 77, np.uint8)])
    np.testing.assert_array_equal(decode_image(encoded(".png", alpha)), picture())
    grey = picture()[:, :, 0]
    expected = np.repeat(grey[:, :, None], 3, axis=2)
    np.testing.assert_array_equal(decode_image(encoded(".png", grey)), expected)


def test_the_orientation_that_a_camera_wrote_down_is_applied() -> None:
    data = encoded(".jpg")
    turned = decode_image(data[:2] + exif(6) + data[2:])
    np.testing.assert_array_equal(turned, np.rot90(decode_image(data), -1))


def test_a_jpeg_with_fill_bytes_between_its_markers_is_read() -> None:
    """Any marker may be preceded by any number of FF bytes (ITU T.81, B.1.1.2)."""
    data = encoded(".jpg")
    filled = data[:2] + b"\xff\xff\xff" + data[2:]
    np.testing.assert_array_equal(decode_image(filled), decode_image(data))


JPEG, PNG = encoded(".jpg"), encoded(".png")
THUMBNAIL = b"\xff\xe1" + struct.pack(">H", 22) + b"Exif\0\0\xff\xd8 thumbnail\xff\xd9\0"
BAD_FILES: dict[str, bytes] = {
    "empty.jpg": b"",
    "text.jpg": b"this is not a picture, whatever its name says\n" * 20,
    "cut.jpg": JPEG[: len(JPEG) // 2],
    "cut early.jpg": JPEG[:20],
    "cut after its thumbnail.jpg": (JPEG[:2] + THUMBNAIL + JPEG[2:])[:1000],
    "only a start.jpg": b"\xff\xd8",
    "start and end.jpg": b"\xff\xd8\xff\xd9",
    "cut.png": PNG[: len(PNG) // 2],
    "cut at the end.png": PNG[:-12],
    "only a start.png": PNG[:8],
    "no pixels.png": png_that_claims(0, 0),
    "no header.png": PNG[:8] + png_chunk(b"tEXt", b"\0\0\0\x30\0\0\0\x30\x08") + PNG[8:],
    "no data.png": png_that_claims(60, 80),
    "cut.bmp": encoded(".bmp")[:5000],
    "cut.webp": encoded(".webp")[:700],
    "only a start.webp": b"RIFF\0\0\0\0WEBP",
    "gif.jpg": b"GIF89a" + b"\0" * 100,
    "noise.png": PNG[:60] + bytes(range(256)) + PNG[-12:],
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_damaged_or_foreign_file_is_refused_by_name(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(BAD_FILES[name])
    with pytest.raises(InputError, match=name):
        read_image(tmp_path / name)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"face\.jpg: No such file"):
        read_image(tmp_path / "face.jpg")


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"expected an image file, got the folder .*Name the"):
        read_image(tmp_path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_devices_and_pipes_are_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    for path in (Path(os.devnull), tmp_path / "pipe.jpg"):
        with pytest.raises(InputError, match=f"got the device or pipe {path}"):
            read_image(path)


def test_a_file_that_is_too_large_is_refused_with_its_size(tmp_path: Path) -> None:
    with (tmp_path / "large.jpg").open("wb") as file:
        file.truncate(130 << 20)
    with pytest.raises(InputError, match=r"at most 128 MiB, got .*large\.jpg of 130 MiB"):
        read_image(tmp_path / "large.jpg")


@pytest.mark.parametrize(
    "address", ["https://example.com/a.jpg", "file:///tmp/a.jpg", "s3://bucket/a.jpg"]
)
def test_an_address_is_refused_as_it_was_given(address: str) -> None:
    with pytest.raises(InputError, match=f"expected an image file, got the address {address}"):
        read_image(address)
    with pytest.raises(InputError, match="got the address"):
        read_image(Path(address))


@pytest.mark.parametrize("kind", [str, Path])
def test_a_password_in_an_address_is_not_shown(kind: type) -> None:
    with pytest.raises(InputError, match="got the address") as refused:
        read_image(kind("https://user:secret@example.com/a.jpg"))
    assert "secret" not in str(refused.value)


def test_a_file_whose_name_looks_like_an_address_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "https:").mkdir()
    (tmp_path / "https:" / "a.png").write_bytes(PNG)
    assert read_image("https://a.png").shape == (60, 80, 3)


@pytest.mark.parametrize("name", ["nul\0byte.png", "x" * 5000])
def test_a_name_that_no_file_can_have_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError):
        read_image(tmp_path / name)


@pytest.mark.parametrize(
    "data",
    [
        png_that_claims(60_000, 60_000),
        png_that_claims(MAX_SIDE_PX + 1, 1),
        png_that_claims(8000, 8001),
        png_that_claims(2**31 - 1, 2**31 - 1),
        JPEG.replace(struct.pack(">HH", 60, 80), struct.pack(">HH", 60_000, 60_000), 1),
        encoded(".bmp")[:18] + struct.pack("<ii", 60_000, -60_000) + encoded(".bmp")[26:],
        b"RIFF\x1e\0\0\0WEBPVP8X\x0a\0\0\0" + b"\0" * 4 + b"\xff" * 6,
        b"RIFF\x1e\0\0\0WEBPVP8L\x0a\0\0\0\x2f" + b"\xff" * 9,
    ],
    ids=["png", "png-long", "png-area", "png-2^31", "jpeg", "bmp", "webp-vp8x", "webp-vp8l"],
)
def test_a_decompression_bomb_is_refused_from_its_header(
    data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def decode(*args: object) -> None:
        raise AssertionError("the decoder was called")

    monkeypatch.setattr(cv2, "imdecode", decode)
    with pytest.raises(InputError, match=r"(?s)expected at most .* says [0-9]+x[0-9]+"):
        decode_image(data)


def test_a_caller_may_take_fewer_pixels_but_not_more() -> None:
    assert decode_image(PNG, max_pixels=60 * 80).shape == (60, 80, 3)
    with pytest.raises(InputError, match="4,799 in all"):
        decode_image(PNG, max_pixels=60 * 80 - 1)
    with pytest.raises(InputError, match=f"{MAX_PIXELS:,} in all"):
        decode_image(png_that_claims(8000, 8001), max_pixels=10**9)


@pytest.mark.parametrize("kind", ["jpg", "progressive", "png", "bmp", "webp", "lossless", "alpha"])
def test_the_size_that_a_header_states_is_the_pictures(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    alpha = np.dstack([picture(), picture()[:, :, 0]])
    data = {
        "jpg": encoded(".jpg"),
        "progressive": encoded(".jpg", None, cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
        "png": encoded(".png"),
        "bmp": encoded(".bmp"),
        "webp": encoded(".webp", None, cv2.IMWRITE_WEBP_QUALITY, 80),
        "lossless": encoded(".webp", None, cv2.IMWRITE_WEBP_QUALITY, 101),
        "alpha": encoded(".webp", alpha, cv2.IMWRITE_WEBP_QUALITY, 80),
    }[kind]
    assert decode_image(data).shape == (60, 80, 3)
    monkeypatch.setattr(preprocess, "MAX_PIXELS", 100)
    with pytest.raises(InputError, match="says 80x60"):
        decode_image(data)


def test_a_jpeg_cannot_hide_its_size_behind_a_second_header(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A fill byte before a comment must not lead us to a frame header inside that comment."""
    data, size = encoded(".jpg", picture(200, 200)), 65_533
    frame = b"\xff\xc0\0\x11\x08" + struct.pack(">HH", 8, 8) + b"\3\1\x11\0\2\x11\1\3\x11\1"
    misread = 2 + 2 + (0xFE00 | size >> 8)  # where a reader lands that takes FE for a length
    comment = (b"\0" * (misread - 7) + frame).ljust(size - 2, b"\0")
    hidden = data[:2] + b"\xff\xff\xfe" + struct.pack(">H", size) + comment + data[2:]
    seen = cv2.imdecode(np.frombuffer(hidden, np.uint8), cv2.IMREAD_COLOR)
    assert seen is not None
    assert seen.shape == (200, 200, 3)
    monkeypatch.setattr(preprocess, "MAX_PIXELS", 100 * 100)
    with pytest.raises(InputError, match="200x200"):
        decode_image(hidden)


def decode_or_refuse(data: bytes) -> None:
    """decode_image gives a picture within the limit, or InputError, and nothing else."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(preprocess, "MAX_PIXELS", 10_000)
        try:
            image = decode_image(data)
        except InputError:
            return
    assert image.dtype == np.uint8
    assert image.ndim == 3
    assert image.shape[2] == 3
    assert 0 < image.shape[0] * image.shape[1] <= 10_000


MAGIC = [
    b"",
    b"\x89PNG\r\n\x1a\n",
    b"\xff\xd8",
    b"BM",
    b"RIFF\0\0\0\0WEBP",
    b"RIFF\0\0\0\0WEBPVP8X",
]


@given(
    st.sampled_from(MAGIC), st.binary(max_size=300), st.sampled_from([b"", b"IEND", b"\xff\xd9"])
)
def test_random_bytes_are_a_picture_or_refused(start: bytes, middle: bytes, end: bytes) -> None:
    decode_or_refuse(start + middle + end)


VALID = {ending: encoded(ending) for ending in FORMATS}


@given(
    st.sampled_from(FORMATS),
    st.lists(st.tuples(st.integers(0, 400) | st.integers(0), st.integers(0, 255)), max_size=6),
    st.floats(0.3, 1),
)
def test_mutated_pictures_are_a_picture_or_refused(
    ending: str, edits: list[tuple[int, int]], share: float
) -> None:
    data = bytearray(VALID[ending])
    for at, value in edits:
        data[at % len(data)] = value
    decode_or_refuse(bytes(data))
    decode_or_refuse(bytes(data[: int(len(data) * share)]))


@pytest.mark.parametrize(
    "name",
    [
        "single_face.jpg",
        "multi_face.jpg",
        "BWPictureHuman.jpg",
        "Image_with_alpha.png",
        "coral_face.jpg",
    ],
)
def test_real_photographs_are_read_as_opencv_reads_them(shared: Path, name: str) -> None:
    path = shared / "data" / "images" / name
    if not path.is_file():
        pytest.skip(f"the photograph ../shared/data/images/{name} is missing")
    np.testing.assert_array_equal(read_image(path), cv2.imread(str(path)))
