"""Headers that lie: sizes, scans, palettes and versions that do not fit the rest of the file."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable

import cv2
import numpy as np
import pytest

from fer_edge import InputError
from fer_edge.images.containers import PictureInfo, picture_info
from fer_edge.preprocess import Image, decode_image

Encode = Callable[..., bytes]


def changed(data: bytes, at: int, form: str, *values: int) -> bytes:
    """Return a copy with numbers written at a position."""
    copy = bytearray(data)
    struct.pack_into(form, copy, at, *values)
    return bytes(copy)


BMP = {
    "pixels begin in the file's header": (10, "<I", 0),
    "pixels begin in the picture's header": (10, "<I", 50),
    "a header of 41 bytes": (14, "<I", 41),
    "a palette that is not there": (28, "<H", 8),
    "one bit a pixel": (28, "<H", 1),
    "8-bit runs": (28, "<HI", 8, 1),
    "runs of true colour": (30, "<I", 1),
    "a JPEG inside": (30, "<I", 4),
    "no bits": (28, "<H", 0),
    "a compression that does not exist": (30, "<I", 0xFFFFFFFF),
}


@pytest.mark.parametrize("lie", BMP)
def test_a_bmp_whose_header_lies_is_refused_and_prints_nothing(
    encode: Encode, lie: str, capfd: pytest.CaptureFixture[str]
) -> None:
    at, form, *values = BMP[lie]
    with pytest.raises(InputError):
        decode_image(changed(encode(".bmp"), at, form, *values))  # type: ignore[arg-type]
    assert capfd.readouterr().err == ""


def test_runs_that_end_early_are_refused() -> None:
    """A kilobyte says 64 million pixels; what is missing was black."""
    palette = bytes(1024)
    head = struct.pack("<IiiHHIIiiII", 40, 8000, 8000, 1, 8, 1, 2, 0, 0, 256, 0)
    with pytest.raises(InputError, match="run-length"):
        decode_image(b"BM" + struct.pack("<IHHI", 1080, 0, 0, 1078) + head + palette + b"\0\1")


def test_a_bmp_with_a_palette_and_one_from_the_top_are_read(encode: Encode, picture: Image) -> None:
    grey = cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)
    data = bytes(cv2.imencode(".bmp", grey)[1])
    assert (decode_image(data)[:, :, 0] == grey).all()
    upside_down = changed(encode(".bmp"), 22, "<i", -picture.shape[0])
    assert (decode_image(upside_down) == picture[::-1]).all()


BGR32, RGB32 = (0xFF0000, 0xFF00, 0xFF), (0xFF, 0xFF00, 0xFF0000)
HIGH32 = (0xFF000000, 0xFF0000, 0xFF00)
TEN_BITS = (0x3FF00000, 0xFFC00, 0x3FF)
RGB565, RGB555 = (0xF800, 0x7E0, 0x1F), (0x7C00, 0x3E0, 0x1F)
BGR565, RGB444 = (0x1F, 0x7E0, 0xF800), (0xF00, 0xF0, 0xF)


def masked_bmp(bgr: Image, depth: int, header: int, masks: tuple[int, ...]) -> bytes:
    """Return a BMP whose pixels have each channel at the place of its mask: red, green, blue."""
    height, width = bgr.shape[:2]
    pixels = np.zeros((height, width), np.uint64)
    for channel, mask in zip((2, 1, 0), masks, strict=True):
        low, bits = max((mask & -mask).bit_length() - 1, 0), mask.bit_count()
        pixels |= (bgr[..., channel].astype(np.uint64) << 8 >> (16 - bits)) << low
    rows = pixels[::-1].astype(f"<u{depth // 8}").tobytes()
    head = struct.pack(
        "<IiiHHIIiiII3I", header, width, height, 1, depth, 3, len(rows), 0, 0, 0, 0, *masks
    )
    head += bytes(max(header, 52) - 52)
    at = 14 + len(head)
    return b"BM" + struct.pack("<IHHI", at + len(rows), 0, 0, at) + head + rows


@pytest.mark.parametrize(
    ("depth", "header", "masks"),
    [
        *((32, header, BGR32) for header in (40, 52, 56, 108, 124)),
        *((32, header, masks) for header in (56, 108, 124) for masks in (RGB32, HIGH32, TEN_BITS)),
        (16, 40, RGB565),
        (16, 40, RGB555),
    ],
)
def test_a_bmp_with_masks_is_read_in_its_colours(
    picture: Image, depth: int, header: int, masks: tuple[int, ...]
) -> None:
    image = decode_image(masked_bmp(picture, depth, header, masks))
    lost_bits = 8 - min(8, *(mask.bit_count() for mask in masks))
    assert np.abs(image.astype(int) - picture).max() <= 2**lost_bits


@pytest.mark.parametrize(
    ("depth", "header", "masks"),
    [
        *((32, header, masks) for header in (40, 52) for masks in (RGB32, HIGH32, TEN_BITS)),
        *((32, 108, masks) for masks in ((0, 0, 0), (0xFF0000, 0xFF00, 0), (0xFF0000, 0xFF00, 5))),
        *((16, 40, masks) for masks in (BGR565, RGB444)),
        *((16, header, RGB565) for header in (52, 56, 108, 124)),
    ],
)
def test_a_bmp_whose_masks_opencv_does_not_read_is_refused(
    picture: Image, depth: int, header: int, masks: tuple[int, ...]
) -> None:
    with pytest.raises(InputError, match=r"the channel masks of .* Save it as a PNG"):
        decode_image(masked_bmp(picture, depth, header, masks))


def test_a_bmp_without_room_for_its_masks_is_refused(picture: Image) -> None:
    data = masked_bmp(picture, 32, 40, BGR32)
    with pytest.raises(InputError, match="damaged header"):
        decode_image(changed(data, 10, "<I", 54))


def segments(jpeg: bytes) -> tuple[list[bytes], bytes]:
    """Return the segments before the first scan, and the rest."""
    at, found = 2, []
    while jpeg[at + 1] != 0xDA:
        end = at + 2 + int.from_bytes(jpeg[at + 2 : at + 4], "big")
        found.append(jpeg[at:end])
        at = end
    return found, jpeg[at:]


def with_scans(picture: Image, components: tuple[int, ...]) -> bytes:
    """A baseline JPEG of three components with a scan for each of these."""
    planes = cv2.split(cv2.cvtColor(picture, cv2.COLOR_BGR2YCrCb))
    heads, _ = segments(bytes(cv2.imencode(".jpg", planes[0])[1]))
    data = b"\xff\xd8"
    for segment in heads:
        if segment[1] == 0xC0:  # the frame header of a grey picture
            size = segment[4:9]
            segment = b"\xff\xc0\0\x11" + size + b"\3\1\x11\0\2\x11\0\3\x11\0"
        data += segment
    for component in components:
        plane = planes[(0, 2, 1)[component]]  # OpenCV has Cr before Cb
        _, scan = segments(bytes(cv2.imencode(".jpg", plane)[1]))
        data += b"\xff\xda\0\x08\1" + bytes([component + 1, 0, 0, 63, 0]) + scan[10:-2]
    return data + b"\xff\xd9"


def test_a_baseline_jpeg_in_three_scans_is_read(picture: Image) -> None:
    assert abs(decode_image(with_scans(picture, (0, 1, 2))).astype(int) - picture).mean() < 6


@pytest.mark.parametrize("components", [(0,), (0, 1), (1, 2), (2,)])
def test_a_baseline_jpeg_without_a_scan_is_refused(
    picture: Image, components: tuple[int, ...]
) -> None:
    with pytest.raises(InputError, match="cut off"):
        decode_image(with_scans(picture, components))


def test_a_progressive_jpeg_that_says_baseline_is_refused(encode: Encode) -> None:
    data = encode(".jpg", cv2.IMWRITE_JPEG_PROGRESSIVE, 1)
    with pytest.raises(InputError, match=r"cut off|damaged"):
        decode_image(data.replace(b"\xff\xc2", b"\xff\xc0", 1))


HIDING: dict[str, Callable[[bytes], bytes]] = {
    "JFIF 9": lambda data: data.replace(b"JFIF\0\1", b"JFIF\0\x09", 1),
    "Adobe 7": lambda data: data[:2] + b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0\7" + data[2:],
}


@pytest.mark.parametrize("lie", HIDING)
def test_a_harmless_warning_hides_no_missing_data(encode: Encode, lie: str) -> None:
    """libjpeg prints its first warning only."""
    data = encode(".jpg")
    middle = len(data) * 2 // 3
    with pytest.raises(InputError, match="damaged"):
        decode_image(HIDING[lie](data[:middle] + data[middle + 150 :]))


def riff(*chunks: bytes) -> bytes:
    body = b"WEBP" + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def part(kind: bytes, content: bytes) -> bytes:
    return kind + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)


def small(*numbers: int) -> bytes:
    return b"".join(number.to_bytes(3, "little") for number in numbers)


def webp(flags: int, width: int, height: int, *chunks: bytes) -> bytes:
    head = bytes([flags, 0, 0, 0]) + small(width - 1, height - 1)
    return riff(part(b"VP8X", head), *chunks)


def test_a_small_animation_on_a_huge_canvas_is_refused(encode: Encode, picture: Image) -> None:
    height, width = picture.shape[:2]
    frame = small(0, 0, width - 1, height - 1, 100) + b"\0" + encode(".webp")[12:]
    moving = part(b"ANIM", bytes(6)), part(b"ANMF", frame)
    # OpenCV before 4.11 decodes no animation at all.
    assert picture_info(webp(2, width, height, *moving), "p") == PictureInfo(width, height)
    with pytest.raises(InputError, match="8000x8000"):
        picture_info(webp(2, 8000, 8000, *moving), "p")


@pytest.mark.parametrize("size", [(50, 50), (200, 200), (16384, 3900), (1 << 24, 1 << 24)])
def test_a_webp_of_two_sizes_is_refused(encode: Encode, size: tuple[int, int]) -> None:
    with pytest.raises(InputError):
        decode_image(webp(0, *size, encode(".webp")[12:]))


def test_the_first_orientation_of_a_webp_counts(encode: Encode, picture: Image) -> None:
    def exif(orientation: int) -> bytes:
        return part(b"EXIF", struct.pack("<4sIHHHIII", b"II*", 8, 1, 0x112, 3, 1, orientation, 0))

    height, width = picture.shape[:2]
    pixels = encode(".webp")[12:]
    twice = decode_image(webp(8, width, height, pixels, exif(6), exif(3)))
    assert (twice == decode_image(webp(8, width, height, pixels, exif(6)))).all()
    assert twice.shape[:2] == (width, height)


def png_with_first_frame(picture: Image, width: int, height: int) -> bytes:
    """A PNG whose animation says another size for the picture's own pixels."""
    data = bytes(cv2.imencode(".png", picture)[1])
    extra = b""
    for kind, content in (
        (b"acTL", struct.pack(">II", 2, 0)),
        (b"fcTL", struct.pack(">IIIIIHHBB", 0, width, height, 0, 0, 1, 1, 0, 0)),
    ):
        size, check = len(content), zlib.crc32(kind + content)
        extra += struct.pack(">I", size) + kind + content + struct.pack(">I", check)
    return data[:33] + extra + data[33:]


@pytest.mark.parametrize("size", [(40, 40), (90, 100_000), (4_000_000_000, 90), (0, 0)])
def test_a_png_whose_first_frame_has_another_size_is_refused(
    picture: Image, size: tuple[int, int]
) -> None:
    height, width = picture.shape[:2]
    decode_image(png_with_first_frame(picture, width, height))
    with pytest.raises(InputError):
        decode_image(png_with_first_frame(picture, *size))


@pytest.mark.parametrize("suffix", [".gif", ".tiff", ".jp2", ".avif", ".ppm", ".ras"])
@pytest.mark.parametrize("name", ["picture.png", "picture"])
def test_other_formats_are_named_whatever_the_suffix(
    picture: Image, suffix: str, name: str
) -> None:
    try:
        data = bytes(cv2.imencode(suffix, picture)[1])
    except cv2.error:
        pytest.skip(f"this OpenCV writes no {suffix}")
    with pytest.raises(InputError, match="expected a JPEG, PNG, BMP or WebP image"):
        decode_image(data, name)
