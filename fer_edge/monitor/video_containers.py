"""Sizes and frame counts in the headers of video containers.

Sources: ISO/IEC 14496-12 (MP4), RFC 8794 and RFC 9559 (Matroska), Microsoft's RIFF (AVI).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

_MOST_PARTS = 100_000
"""Largest number of parts and edits that are walked. An hour in fragments of 1 s has 7,200."""
_MOST_HEADER_BYTES = 64 * 1024 * 1024
"""Largest MP4 header that is read. Eight hours of video have 5 MB."""
_MOST_FRAMES = 4_000_000
"""Largest number of frames whose times are computed. 18 hours at 60 Hz have 3.9 million."""
_UNKNOWN_LENGTH = 0xFFFFFFFF
"""RIFF length of a stream whose writer did not know it."""

_DATA = {b"moov", b"moof", b"mdat"}
"""MP4 boxes that hold the video. Others may be cut off without a loss."""


def missing_bytes(path: Path) -> int:
    """Return the bytes that the container states beyond the file's end.

    0 if unknown or complete.

    Raises:
        OSError: The file cannot be read.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(12)
        if head[:4] == b"RIFF":
            end = _riff_end(file, size)
        elif head[4:8] in (b"ftyp", b"styp", b"moov", b"mdat", b"free", b"wide", b"skip"):
            parts = _boxes(file, size)
            end = max((start + length for kind, start, length in parts if kind in _DATA), default=0)
        elif head[:4] == b"\x1a\x45\xdf\xa3":
            end = _matroska_end(file)
        else:
            return 0
    return max(end - size, 0)


def shown_share(path: Path) -> float | None:
    """Return the share (0..1) of stored frames that are shown.

    None if unknown.

    Only MP4 states a count that includes each frame. Its edit list may hide some of them.

    Raises:
        OSError: The file cannot be read.
    """
    with path.open("rb") as file:
        if file.read(12)[4:8] != b"ftyp":
            return None
        for kind, start, length in _boxes(file, path.stat().st_size):
            if kind == b"moov" and length <= _MOST_HEADER_BYTES:
                file.seek(start)
                return _shown_of(file.read(length))
    return None


def _riff_end(file: BinaryIO, size: int) -> int:
    """Return where the last RIFF part ends; 0 if unknown. Files over 1 GB have several."""
    end = 0
    for _ in range(_MOST_PARTS):
        file.seek(end)
        head = file.read(8)
        if len(head) < 8 or head[:4] != b"RIFF" or end >= size:
            break
        length = int.from_bytes(head[4:], "little")
        if length == _UNKNOWN_LENGTH:
            return 0
        end += 8 + length + length % 2
    # A writer may leave out the last padding byte.
    return end - 1 if end == size + 1 else end


def _boxes(file: BinaryIO, size: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield type, start and length of each top-level box, even a cut one."""
    start = 0
    for _ in range(_MOST_PARTS):
        file.seek(start)
        head = file.read(16)
        if len(head) < 8 or not all(32 <= letter < 127 for letter in head[4:8]):
            return
        length = int.from_bytes(head[:4], "big")
        if length == 1 and len(head) == 16:
            length = int.from_bytes(head[8:], "big")
        elif length == 0:  # to the end of the file
            length = size - start
        if length < 8:
            return
        yield head[4:8], start, length
        start += length
        if start >= size:
            return


def _matroska_end(file: BinaryIO) -> int:
    """Return where the Segment ends; 0 for a stream whose writer did not know."""
    file.seek(4)
    header = _vint(file)
    if header is None:
        return 0
    file.seek(header, 1)
    if file.read(4) != b"\x18\x53\x80\x67":
        return 0
    length = _vint(file)
    return 0 if length is None else file.tell() + length


def _vint(file: BinaryIO) -> int | None:
    """Read an EBML length; None if unknown (all bits set) or no length."""
    first = file.read(1)
    if not first or first[0] == 0:
        return None
    count = 9 - first[0].bit_length()
    rest = file.read(count - 1)
    if len(rest) < count - 1:
        return None
    value = int.from_bytes(bytes([first[0] & (0xFF >> count)]) + rest, "big")
    return None if value == (1 << 7 * count) - 1 else value


def _shown_of(moov: bytes) -> float | None:
    """Return the share of the first video track that its edit list shows."""
    try:
        scale = _times(_find(moov, b"mvhd"))[0]
        for track in _all(_body(moov), b"trak"):
            media = _find(track, b"mdia")
            if _find(media, b"hdlr")[16:20] != b"vide":
                continue
            edits = next(iter(_all(_body(track), b"edts")), None)
            if edits is None:
                return 1.0
            ticks = _times(_find(media, b"mdhd"))[0] / scale
            # One type, and one search for all edits: else each edit converts all times again.
            times = np.sort(_frame_times(_find(_find(media, b"minf"), b"stbl"))).astype(np.float64)
            table = np.array(list(_edits(_find(edits, b"elst"))), np.float64).reshape(-1, 2)
            starts = table[:, 0]
            first, end = np.searchsorted(times, (starts, starts + table[:, 1] * ticks))
            return min(int((end - first).sum()) / len(times), 1.0)
    except (LookupError, ValueError, struct.error, ZeroDivisionError):
        return None  # a fragmented or damaged file: its count proves nothing
    return None


def _body(box: bytes) -> bytes:
    return box[8:]


def _all(body: bytes, kind: bytes) -> Iterator[bytes]:
    """Yield the boxes of one type, headers included."""
    start = 0
    while start + 8 <= len(body):
        length = int.from_bytes(body[start : start + 4], "big")
        if length < 8:
            return
        if body[start + 4 : start + 8] == kind:
            yield body[start : start + length]
        start += length


def _find(box: bytes, kind: bytes) -> bytes:
    """Return the first child of one type. Raises LookupError."""
    for child in _all(_body(box), kind):
        return child
    raise LookupError(kind)


def _times(box: bytes) -> tuple[int, int]:
    """Return time scale and duration of an mvhd or mdhd box."""
    long = box[8] == 1
    scale, duration = struct.unpack_from(">IQ" if long else ">II", box, 28 if long else 20)
    return int(scale), int(duration)


def _frame_times(stbl: bytes) -> npt.NDArray[np.int64]:
    """Return the time of each frame, in the media's time scale. Raises LookupError if too many."""
    steps = _counted(_find(stbl, b"stts"))
    times: npt.NDArray[np.int64] = np.cumsum(steps) - steps
    # Frames that are shown in another order. There is one such box; a hostile file has thousands.
    for box in islice(_all(_body(stbl), b"ctts"), 1):
        delays = _counted(box)[: len(times)]
        times[: len(delays)] += delays
    return times


def _counted(box: bytes) -> npt.NDArray[np.int64]:
    """Return the values of a table of counts and values, each as often as it counts."""
    (rows,) = struct.unpack_from(">I", box, 12)
    table: Any = np.frombuffer(box[16 : 16 + 8 * rows], ">u4,>i4")
    if table["f0"].sum(dtype=np.uint64) > _MOST_FRAMES:
        raise LookupError(box[4:8])
    return np.repeat(table["f1"].astype(np.int64), table["f0"])


def _edits(elst: bytes) -> Iterator[tuple[int, int]]:
    """Yield start (the media's time scale) and length (the movie's) of each part that is shown."""
    long = elst[8] == 1
    entry = struct.Struct(">Qqi" if long else ">Iii")
    (count,) = struct.unpack_from(">I", elst, 12)
    for index in range(min(count, _MOST_PARTS, (len(elst) - 16) // entry.size)):
        length, start, _ = entry.unpack_from(elst, 16 + index * entry.size)
        if start >= 0:  # -1 delays the start, and shows nothing
            yield start, length
