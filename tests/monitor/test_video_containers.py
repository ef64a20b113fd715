"""What containers state about their size and their frames."""

from __future__ import annotations

import struct
from pathlib import Path

import cv2
import numpy as np

from fer_edge.monitor import VideoFile
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


def slow_down(path: Path, fast: int, slow: int, times: int) -> None:
    """Let the last frames of an MP4 last longer, as phones do in the dark; hide the first ones."""
    data = bytearray(path.read_bytes())
    place = data.index(b"stts")
    count, step = struct.unpack_from(">II", data, place + 12)
    assert (struct.unpack_from(">I", data, place + 8)[0], count) == (1, fast + slow)
    struct.pack_into(">IIII", data, place + 4, 0, 2, fast, step)
    data[place + 20 : place + 20] = struct.pack(">II", slow, step * times)
    for box in (*_PARENTS, b"stts"):
        size = data.index(box) - 4
        struct.pack_into(">I", data, size, struct.unpack_from(">I", data, size)[0] + 8)
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


def test_a_streamed_avi_states_no_length(tmp_path: Path) -> None:
    path = write(tmp_path / "stream.avi", 20, "MJPG")
    data = bytearray(path.read_bytes())
    data[4:8] = b"\xff" * 4
    path.write_bytes(data)
    assert missing_bytes(path) == 0
    assert read(path) == 20
