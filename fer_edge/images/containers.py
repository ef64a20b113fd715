"""Checks of JPEG, PNG, BMP and WebP containers before any decoder.

A decoder believes the lengths and counts that a file states: 45 bytes of PNG made OpenCV allocate
2 GB, and a JPEG of 350 KB with 8,000 scans took 11 s. Each walk below is linear in the file and
keeps no pixel. It refuses a file whose container promises more than it holds, or whose data go on
after the last row of pixels.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from fer_edge.errors import InputError
from fer_edge.images.exif import exif_orientation

MAX_SIDE_PX = 16_384
"""Largest width and height in pixels."""
MAX_PIXELS = 64_000_000
"""Largest number of pixels, against bombs. No in-car camera has as many."""
MAX_SCANS = 100
"""Largest number of scans of a JPEG. A progressive JPEG of a camera or an editor has about 10."""
MAX_CHUNKS = 20_000
"""Largest number of chunks or segments of a file. A 64-megapixel PNG of libpng has about 8,000."""

_NEXT_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
"""End of a JPEG scan: a marker other than stuffing, restart and fill."""
_FILL = re.compile(rb"\xff+(?=\xff)")
"""Fill bytes before a JPEG marker."""
_SOF = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""JPEG frame headers; C4, C8 and CC in that range are tables."""
_HUFFMAN_DCT = {0xC0: 2, 0xC1: 2, 0xC2: 1}
"""Least bits of an 8x8 block by Huffman JPEG frame header. Baseline and extended blocks have a code
for DC and one for the end; in a progressive JPEG, DC alone."""
_SOS, _EOI, _APP1 = 0xDA, 0xD9, 0xE1
_MOST_DEFLATE = 1032
"""Largest ratio that deflate can compress by (zlib's technical notes)."""
_MOST_SURPLUS_BYTES = 128 * 1024 * 1024
"""Most bytes after a PNG's last row once inflated, which takes libpng 0.25 s."""
_INFLATE_BYTES = 1024 * 1024
"""Bytes that are inflated at once."""
_PIECE_BYTES = 64 * 1024
"""Bytes of a file that zlib gets at once."""
_BMP_HEADERS = frozenset({40, 52, 56, 64, 108, 124})
"""Bytes of the BMP headers that programs write; 12 is that of OS/2."""
_BMP_COMPRESSIONS = frozenset({0, 3})
"""None, and bit masks for the channels. OpenCV 4.8 prints what it thinks of others."""
_BMP_MASKS = {
    16: {(0xF800, 0x07E0, 0x001F), (0x7C00, 0x03E0, 0x001F)},
    32: {(0xFF0000, 0xFF00, 0xFF)},
}
"""Red, green and blue masks by bits a pixel. OpenCV 4.8 to 5.0 decodes these rightly."""
_BMP_READ_MASKS = 56
"""Least bytes of a BMP header whose 32-bit masks OpenCV reads. With others, it answers BGR."""
_ANIMATION = 0x02
"""Flag of a WebP with several frames."""
_MAX_CANVAS_PIXELS = 16_000_000
"""Most pixels of an animated WebP. Its canvas is drawn in three copies, however small the frames
are: 64 million pixels took 670 MB."""
_PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""Samples of a pixel by PNG colour type."""


@dataclass(frozen=True)
class PictureInfo:
    """Facts that a picture's container states.

    Attributes:
        width: Stored width in pixels, before the orientation is applied.
        height: Stored height in pixels.
        orientation: EXIF orientation, 1 to 8; 1 if the file states none.
    """

    width: int
    height: int
    orientation: int = 1


def picture_info(data: bytes, name: str, max_pixels: int = MAX_PIXELS) -> PictureInfo:
    """Check a picture's container and return its size and orientation.

    Args:
        data: Bytes of a JPEG, PNG, BMP or WebP file. Data after the picture's end is accepted:
            motion photos and vendor trailers are complete pictures.
        name: Name of the picture, for messages.
        max_pixels: Largest number of pixels to accept.

    Raises:
        InputError: The file is cut off, too large, states impossible lengths, or is of another
            format.
    """
    limits = name, max_pixels
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        return _png(data, *limits)
    if data[:2] == b"\xff\xd8":
        return _jpeg(data, *limits)
    if data[:2] == b"BM" and len(data) >= 26:
        return _bmp(data, *limits)
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return _webp(data, *limits)
    raise InputError(
        f"expected a JPEG, PNG, BMP or WebP image, but {name} is none of them. "
        "Convert it to one of these first"
    )


def _cut_off(kind: str, name: str) -> InputError:
    return InputError(f"{name} is a {kind} that was cut off. Copy or export it again")


def _check_size(width: int, height: int, name: str, max_pixels: int) -> None:
    if max(height, width) > MAX_SIDE_PX or height * width > max_pixels:
        raise InputError(
            f"expected at most {MAX_SIDE_PX} pixels a side and {max_pixels:,} in all, but {name} "
            f"says {width}x{height}. Shrink it first"
        )


def _too_many(kind: str, what: str, limit: int, name: str) -> InputError:
    return InputError(
        f"expected a {kind} of at most {limit:,} {what}, but {name} has more. Export it again"
    )


def _png(data: bytes, name: str, max_pixels: int) -> PictureInfo:
    width = height = depth = colour = 0
    exif, packed_bytes = b"", 0
    for count, (kind, start, end) in enumerate(_png_chunks(data, name)):
        if count == 0:
            if kind != b"IHDR" or end - start != 13:
                raise InputError(f"{name} is a PNG without its header. Copy or export it again")
            width, height, depth, colour = struct.unpack(">IIBB", data[start : start + 10])
            _check_size(width, height, name, max_pixels)
            if depth == 16:
                raise InputError(
                    f"expected 8 bits a channel, but {name} has 16. Scale it to 8 first"
                )
        elif kind == b"fcTL" and end - start >= 20:  # a frame of an animation
            frame = struct.unpack(">II", data[start + 4 : start + 12])
            if frame[0] > width or frame[1] > height:
                raise InputError(f"{name} is a PNG whose frames exceed its size. Export it again")
            if not packed_bytes and frame != (width, height):  # the next pixels are this frame's
                raise InputError(f"{name} is a PNG of two sizes. Export it again")
        elif kind == b"IDAT":
            packed_bytes += end - start
        elif kind == b"eXIf":
            exif = exif or data[start:end]
    if not packed_bytes:
        raise InputError(f"{name} is a PNG without pixels. Copy or export it again")
    row_bytes = (width * depth * _PNG_CHANNELS.get(colour, 1) + 7) // 8
    if height * row_bytes > packed_bytes * _MOST_DEFLATE:
        raise _cut_off("PNG", name)
    limit = 2 * height * (row_bytes + 1) + _MOST_SURPLUS_BYTES  # interlacing adds rows
    if packed_bytes * _MOST_DEFLATE > limit and _inflates_beyond(data, name, limit):
        raise InputError(
            f"{name} is a PNG whose data go on after its last row. Copy or export it again"
        )
    return PictureInfo(width, height, exif_orientation(exif))


def _inflates_beyond(data: bytes, name: str, limit: int) -> bool:
    """Return True if the pixels' data are more than ``limit`` bytes when they are inflated.

    libpng inflates all of them, also what follows the last row: 8 MiB hold 8 GiB.
    """
    stream, size = zlib.decompressobj(), 0
    for kind, start, end in _png_chunks(data, name):
        if kind != b"IDAT":
            continue
        for at in range(start, end, _PIECE_BYTES):  # zlib copies what it has not read, each time
            rest = data[at : min(at + _PIECE_BYTES, end)]
            while rest and not stream.eof and size <= limit:
                try:
                    size += len(stream.decompress(rest, _INFLATE_BYTES))
                except zlib.error:
                    return False  # the decoder says so
                rest = stream.unconsumed_tail
            if stream.eof or size > limit:
                return size > limit
    return size > limit


def _png_chunks(data: bytes, name: str) -> Iterator[tuple[bytes, int, int]]:
    """Kind, start and end of each chunk's content, up to IEND."""
    at = 8
    for _ in range(MAX_CHUNKS):
        if at + 12 > len(data):
            raise _cut_off("PNG", name)
        length, kind = struct.unpack(">I4s", data[at : at + 8])
        if length > len(data) - at - 12:
            raise _cut_off("PNG", name)
        yield kind, at + 8, at + 8 + length
        if kind == b"IEND":
            return
        at += 12 + length
    raise _too_many("PNG", "chunks", MAX_CHUNKS, name)


def _jpeg(data: bytes, name: str, max_pixels: int) -> PictureInfo:
    size: tuple[int, int] | None = None
    exif, scans, at = b"", 0, 2
    # Component and coefficient without its last bit. A baseline scan has all of its components'.
    missing: set[tuple[int, int]] = set()
    scan_bytes = block_bits = 0
    for _ in range(MAX_CHUNKS):
        if fill := _FILL.match(data, at):
            at = fill.end()
        if at + 2 > len(data):
            raise _cut_off("JPEG", name)
        if data[at] != 0xFF:
            raise InputError(f"{name} is a JPEG with damaged segments. Copy or export it again")
        marker = data[at + 1]
        if marker == _EOI:
            if size is None or not scans:
                raise InputError(f"{name} is a JPEG without a picture. Export it again")
            blocks = (size[0] + 7) // 8 * ((size[1] + 7) // 8)
            if missing or scan_bytes * 8 < blocks * block_bits:
                raise _cut_off("JPEG", name)
            return PictureInfo(*size, exif_orientation(exif))
        if marker == 0x01 or 0xD0 <= marker <= 0xD8:  # markers without a length
            at += 2
            continue
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        if length < 2 or at + 2 + length > len(data):
            raise _cut_off("JPEG", name)
        if marker in _SOF and length >= 8:
            height, width = struct.unpack(">HH", data[at + 5 : at + 9])
            if size not in (None, (width, height)):
                raise InputError(f"{name} is a JPEG of two sizes. Export it again")
            if marker not in _HUFFMAN_DCT:
                raise InputError(
                    f"expected a baseline or progressive JPEG, but {name} is of a kind that hardly "
                    "any program reads. Export it again"
                )
            _check_size(width, height, name, max_pixels)
            size, block_bits = (width, height), _HUFFMAN_DCT[marker]
            if not missing:
                missing = {(c, k) for c in data[at + 10 : at + 2 + length : 3] for k in range(64)}
        elif marker == _APP1 and data[at + 4 : at + 10] == b"Exif\0\0":
            exif = exif or data[at + 10 : at + 2 + length]  # the first counts, as for all viewers
        elif marker == _SOS and missing:
            missing -= _finished(data[at + 4 : at + 2 + length])
        at += 2 + length
        if marker == _SOS:
            scans += 1
            if scans > MAX_SCANS:
                raise _too_many("JPEG", "scans", MAX_SCANS, name)
            found = _NEXT_MARKER.search(data, at)
            if found is None:
                raise _cut_off("JPEG", name)
            scan_bytes += found.start() - at
            at = found.start()
    raise _too_many("JPEG", "segments", MAX_CHUNKS, name)


def _finished(scan: bytes) -> set[tuple[int, int]]:
    """Component and coefficient pairs that a scan brings to their last bit.

    The scan header is that of ITU-T T.81, B.2.3: components, spectral band, bit position.
    """
    if len(scan) < 4 or scan[-1] & 0x0F:
        return set()
    first, last = scan[-3], min(scan[-2], 63)
    return {(c, k) for c in scan[1:-3:2] for k in range(first, last + 1)}


def _bmp(data: bytes, name: str, max_pixels: int) -> PictureInfo:
    pixels_at, header = struct.unpack("<II", data[10:18])
    compression = colours = 0
    if header == 12:  # OS/2: 16-bit sizes
        width, height, _, depth = struct.unpack("<HHHH", data[18:26])
    elif header in _BMP_HEADERS and len(data) >= 54:
        width, height, _, depth, compression = struct.unpack("<iiHHI", data[18:34])
        colours = int.from_bytes(data[46:50], "little")
    else:
        raise InputError(f"{name} is a BMP without a readable header. Export it again")
    if compression in (1, 2):  # the runs may end early, and nobody can tell what is missing
        raise InputError(
            f"expected a BMP without compression, but {name} has run-length encoding. "
            "Save it without, or as a PNG"
        )
    width, height = abs(width), abs(height)
    _check_size(width, height, name, max_pixels)
    palette = (colours or 1 << depth) * (3 if header == 12 else 4) if depth <= 8 else 0
    masks = 12 if compression and header == 40 else 0
    if pixels_at < 14 + header + palette + masks or compression not in _BMP_COMPRESSIONS:
        raise InputError(f"{name} is a BMP with a damaged header. Copy or export it again")
    if pixels_at + (width * depth + 31) // 32 * 4 * height > len(data):
        raise _cut_off("BMP", name)
    if compression:
        _check_masks(struct.unpack("<III", data[54:66]), header, depth, name)
    return PictureInfo(width, height)


def _check_masks(masks: tuple[int, ...], header: int, depth: int, name: str) -> None:
    """Refuse channel masks that OpenCV ignores or cannot read.

    Args:
        masks: Bits of red, green and blue in a pixel.
        header: Bytes of the picture's header.
        depth: Bits of a pixel.
        name: Name of the picture, for messages.
    """
    if depth == 32 and header >= _BMP_READ_MASKS:
        is_read = all(map(_is_run, masks))
    else:
        is_read = masks in _BMP_MASKS.get(depth, ()) and (depth == 32 or header == 40)
    if not is_read:
        shown = ", ".join(f"{mask:0{depth // 4}x}" for mask in masks)
        raise InputError(
            "expected the channel masks of a 32-bit BGR, 16-bit 565 or 16-bit 555 BMP, but "
            f"{name} has {shown}. Save it as a PNG"
        )


def _is_run(mask: int) -> bool:
    """Return True if a mask's bits are set, and next to each other."""
    return mask > 0 and mask & (mask + (mask & -mask)) == 0


def _webp(data: bytes, name: str, max_pixels: int) -> PictureInfo:
    end = 8 + int.from_bytes(data[4:8], "little")
    size: tuple[int, int] | None = None
    exif, at, has_pixels = b"", 12, False
    for _ in range(MAX_CHUNKS):
        if at + 8 > min(end, len(data)):
            break
        kind, length = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
        start = at + 8
        if start + length > min(end, len(data)):
            raise _cut_off("WebP", name)
        if kind in (b"VP8X", b"VP8L", b"VP8 ") and length >= 10 and size is None:
            size = _webp_size(kind, data[start : start + 10])
            animated = kind == b"VP8X" and data[start] & _ANIMATION
            _check_size(
                *size, name, min(max_pixels, _MAX_CANVAS_PIXELS) if animated else max_pixels
            )
        elif kind == b"VP8L" and length >= 5 and size is None:
            size = _webp_size(kind, data[start : start + 5])
            _check_size(*size, name, max_pixels)
        elif kind == b"EXIF":  # the first one counts (RFC 9649, 2.7.1.5)
            exif = exif or data[start : start + length].removeprefix(b"Exif\0\0")
        has_pixels |= kind in (b"VP8 ", b"VP8L", b"ANMF")
        at = start + length + length % 2
    else:
        raise _too_many("WebP", "chunks", MAX_CHUNKS, name)
    if end > len(data) + 1:  # an odd last chunk may lack its padding byte
        raise _cut_off("WebP", name)
    if size is None or not has_pixels:
        raise InputError(f"{name} is a WebP without a picture. Export it again")
    return PictureInfo(*size, exif_orientation(exif))


def _webp_size(kind: bytes, head: bytes) -> tuple[int, int]:
    """Canvas or frame size from a chunk's first bytes (RFC 9649, sections 2.5 to 2.7)."""
    if kind == b"VP8X":
        return 1 + int.from_bytes(head[4:7], "little"), 1 + int.from_bytes(head[7:10], "little")
    if kind == b"VP8L":
        bits = int.from_bytes(head[1:5], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    width, height = struct.unpack("<HH", head[6:10])
    return width & 0x3FFF, height & 0x3FFF
