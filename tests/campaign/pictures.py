"""Mutated pictures through decode_image, which predict, the service and training share.

PYTHONPATH=tests/campaign python tests/campaign/pictures.py --count 10000
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from common import Case, main

from fer_edge.preprocess import decode_image

_PNG = b"\x89PNG\r\n\x1a\n"


def cases(rng: np.random.Generator, folder: Path) -> Iterator[Case]:
    seeds = _seeds(rng)
    kinds = [_flip, _flip, _cut, _splice, _lengths, _repeat, _bomb]
    while True:
        seed = seeds[rng.integers(len(seeds))]
        data = kinds[rng.integers(len(kinds))](rng, seed)

        def case(data: bytes = data) -> None:
            decode_image(data, "case")

        yield case


def _seeds(rng: np.random.Generator) -> list[bytes]:
    small = rng.integers(0, 256, (12, 16, 3), np.uint8)
    picture = cv2.resize(small, (320, 240), interpolation=cv2.INTER_CUBIC)
    forms = [
        (".png", []),
        (".jpg", []),
        (".jpg", [cv2.IMWRITE_JPEG_PROGRESSIVE, 1]),
        (".jpg", [cv2.IMWRITE_JPEG_RST_INTERVAL, 3]),
        (".bmp", []),
        (".webp", []),
        (".webp", [cv2.IMWRITE_WEBP_QUALITY, 101]),
    ]
    seeds = [cv2.imencode(suffix, picture, settings)[1].tobytes() for suffix, settings in forms]
    return [*seeds, *(_extended(webp) for webp in seeds[-2:])]


def _extended(webp: bytes) -> bytes:
    """The same WebP in the extended format, whose first chunk is VP8X."""
    sides = b"".join((side - 1).to_bytes(3, "little") for side in (320, 240))
    body = b"WEBPVP8X" + struct.pack("<II", 10, 0) + sides + webp[12:]
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _flip(rng: np.random.Generator, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.integers(1, 20)):
        # Headers are at the front: half of the changes hit the first 64 bytes.
        where = rng.integers(64 if rng.random() < 0.5 else len(changed))
        changed[where] = rng.integers(256)
    return bytes(changed)


def _cut(rng: np.random.Generator, data: bytes) -> bytes:
    # Headers are at the front: half of the cuts are in the first 64 bytes.
    start = data[: rng.integers(1, 64 if rng.random() < 0.5 else len(data))]
    if rng.random() < 0.5:
        return start
    if data.startswith(b"RIFF"):  # the container says that it is as long as what is left
        return start[:4] + struct.pack("<I", max(len(start) - 8, 0)) + start[8:]
    return start + (data[-12:] if data.startswith(_PNG) else b"\xff\xd9")


def _splice(rng: np.random.Generator, data: bytes) -> bytes:
    a, b = sorted(rng.integers(0, len(data), 2))
    where = rng.integers(len(data))
    return data[:where] + data[a:b] + data[where:]


def _lengths(rng: np.random.Generator, data: bytes) -> bytes:
    """Four bytes somewhere become a length that is far too large."""
    where = rng.integers(4, len(data) - 4)
    value = rng.choice([0x7FFFFFFF, 0xFFFFFFFF, 0x80000000, 0x00FFFFFF, 0xFFFF])
    return (
        data[:where] + struct.pack(">I" if rng.random() < 0.5 else "<I", value) + data[where + 4 :]
    )


def _repeat(rng: np.random.Generator, data: bytes) -> bytes:
    """A part, often a scan or chunk, many times over; at most 8 MiB."""
    markers = [m for m in (b"\xff\xda", b"IDAT", b"VP8 ", b"\xff\xc4") if m in data]
    start = data.rindex(markers[0]) - 4 * (markers[0] == b"IDAT") if markers else len(data) // 2
    part = data[start:-2]
    times = min(int(rng.integers(2, 50_000)), 8 * 1024**2 // max(len(part), 1))
    return data[:start] + part * times + data[-2:]


def _bomb(rng: np.random.Generator, data: bytes) -> bytes:
    """A picture that says it is large and holds little."""
    side = int(rng.choice([5_000, 8_000, 16_384, 65_535, 2**31 - 1]))
    if data.startswith(_PNG):
        head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
        body = zlib.compress(bytes(int(rng.integers(1, 100_000))))
        return _PNG + b"".join(
            struct.pack(">I", len(c)) + k + c + struct.pack(">I", zlib.crc32(k + c))
            for k, c in ((b"IHDR", head), (b"IDAT", body), (b"IEND", b""))
        )
    if data.startswith(b"\xff\xd8"):
        at = next(data.index(m) for m in (b"\xff\xc0", b"\xff\xc2") if m in data)
        return data[: at + 5] + struct.pack(">HH", *[min(side, 65_500)] * 2) + data[at + 9 :]
    return data[:18] + struct.pack("<II", side, side) + data[26:]


if __name__ == "__main__":
    main(cases, 10_000)
