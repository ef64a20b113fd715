"""Sizes and frames that containers state."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from fer_edge.monitor import VideoFile, video_containers
from fer_edge.monitor.video_containers import missing_bytes, shown_share

_PARENTS = b"moov", b"trak", b"mdia", b"minf", b"stbl"


def write(path: Path, count: int, code: str) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*code), 20.0, (64, 48))
    assert writer.isOpened()
    noise = np.random.default_rng(0)
    for _ in range(count):
        writer.write(noise.integers(0, 256, (48, 64, 3), np.uint8))
    writer.release()
    return path


def read(path: Path) -> int:
    """The number of frames that a file gives."""
    source = VideoFile(path)
    source.open()
    count = 0
    try:
        while True:
            source.read()
            count += 1
    except StopIteration:
        return count
    finally:
        source.close()


def insert(data: bytearray, place: int, extra: bytes, boxes: tuple[bytes, ...]) -> None:
    """Add bytes to an MP4's header; the boxes around them grow."""
    data[place:place] = extra
    for box in boxes:
        size = data.index(box) - 4
        struct.pack_into(">I", data, size, struct.unpack_from(">I", data, size)[0] + len(extra))


def slow_down(path: Path, fast: int, slow: int, times: int) -> None:
    """Let the last frames of an MP4 last longer, as phones do in the dark; hide the first ones."""
    data = bytearray(path.read_bytes())
    place = data.index(b"stts")
    count, step = struct.unpack_from(">II", data, place + 12)
    assert (struct.unpack_from(">I", data, place + 8)[0], count) == (1, fast + slow)
    struct.pack_into(">IIII", data, place + 4, 0, 2, fast, step)
    insert(data, place + 20, struct.pack(">II", slow, step * times), (*_PARENTS, b"stts"))
    length = (fast + slow * times) * step
    mdhd, mvhd, tkhd, elst = (data.index(box) for box in (b"mdhd", b"mvhd", b"tkhd", b"elst"))
    movie = struct.unpack_from(">I", data, mvhd + 16)[0]
    media = struct.unpack_from(">I", data, mdhd + 16)[0]
    shown = slow * step * times * movie // media
    struct.pack_into(">I", data, mdhd + 20, length)
    struct.pack_into(">I", data, mvhd + 20, shown)
    struct.pack_into(">I", data, tkhd + 24, shown)
    struct.pack_into(">II", data, elst + 8, 1, shown)
    struct.pack_into(">i", data, elst + 16, fast * step)
    assert data.index(b"mdat") < data.index(b"moov")  # else the places of the frames would move
    path.write_bytes(data)


def test_a_trimmed_start_of_changing_rate_is_counted_in_frames(tmp_path: Path) -> None:
    path = write(tmp_path / "phone.mp4", 40, "mp4v")
    assert shown_share(path) == 1.0
    slow_down(path, fast=30, slow=10, times=7)  # 70 % of the time, and 25 % of the frames
    assert shown_share(path) == 0.25
    assert read(path) == 10


def test_a_table_that_states_too_many_frames_proves_nothing(tmp_path: Path) -> None:
    path = write(tmp_path / "hostile.mp4", 20, "mp4v")
    data = bytearray(path.read_bytes())
    struct.pack_into(">I", data, data.index(b"stts") + 12, 0xFFFFFFFF)
    path.write_bytes(data)
    assert shown_share(path) is None


def test_repeated_tables_of_an_order_are_read_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "hostile.mp4", 20, "mp4v")
    data = bytearray(path.read_bytes())
    table = struct.pack(">I4sIIIi", 24, b"ctts", 0, 1, 20, 0)
    insert(data, data.index(b"stts") - 4, table * 5000, _PARENTS)
    path.write_bytes(data)
    kinds, counted = [], video_containers._counted

    def noted(box: bytes) -> Any:
        kinds.append(box[4:8])
        return counted(box)

    monkeypatch.setattr(video_containers, "_counted", noted)
    assert shown_share(path) == 1.0
    assert kinds == [b"stts", b"ctts"]


def test_all_edits_are_found_in_one_search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "hostile.mp4", 20, "mp4v")
    data = bytearray(path.read_bytes())
    place = data.index(b"elst")
    struct.pack_into(">II", data, place + 8, 5001, 0)  # the first shows nothing
    edit = struct.pack(">Iii", 0, 0, 1 << 16)
    insert(data, place + 24, edit * 5000, (b"moov", b"trak", b"edts", b"elst"))
    path.write_bytes(data)
    searches, search = [], np.searchsorted

    def noted(times: Any, places: Any) -> Any:
        searches.append((times.dtype, np.asarray(places).dtype))
        return search(times, places)

    monkeypatch.setattr(np, "searchsorted", noted)
    assert shown_share(path) == 0.0
    assert searches == [(np.float64, np.float64)]


def test_a_streamed_avi_states_no_length(tmp_path: Path) -> None:
    path = write(tmp_path / "stream.avi", 20, "MJPG")
    data = bytearray(path.read_bytes())
    data[4:8] = b"\xff" * 4
    path.write_bytes(data)
    assert missing_bytes(path) == 0
    assert read(path) == 20
