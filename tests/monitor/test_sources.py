"""Sources by name, and frames that are none."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import cv2
import numpy as np
import pytest

from fer_edge.errors import InputError, SourceError
from fer_edge.monitor import Camera, DriverMonitor, Frames, VideoFile, WholeFrame
from fer_edge.monitor.sources import file_of, open_source
from fer_edge.preprocess import Image
from fer_edge.shown import shown

Picture = Callable[..., Image]


def write(path: Path, count: int = 20, hz: float = 20.0, code: str = "mp4v") -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*code), hz, (64, 48))
    assert writer.isOpened()
    noise = np.random.default_rng(0)
    for _ in range(count):
        writer.write(noise.integers(0, 256, (48, 64, 3), np.uint8))
    writer.release()
    return path


def read(source: Any) -> list[float]:
    """The times of all frames."""
    source.open()
    times = []
    try:
        while True:
            times.append(source.read().time_s)
    except StopIteration:
        return times
    finally:
        source.close()


# Clips that come once: behind an address, or in a pipe.


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """The address of a server whose files lie in ``tmp_path``."""
    handler = partial(QuietHandler, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


def test_a_clip_with_fewer_frames_than_its_rate_tells_ends(tmp_path: Path, address: str) -> None:
    double_rate(write(tmp_path / "clip.mkv", 30, code="MJPG"))
    capture = cv2.VideoCapture(str(tmp_path / "clip.mkv"))
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) > 50  # guessed
    capture.release()
    assert len(read(Camera(f"{address}/clip.mkv"))) == 30


def test_a_clip_that_breaks_off_has_a_fault(tmp_path: Path, address: str) -> None:
    path = write(tmp_path / "clip.mkv", 30, code="MJPG")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    camera = Camera(f"{address}/clip.mkv")
    camera.open()
    while (frame := camera.read()) is not None:
        assert frame.image.shape == (48, 64, 3)
    camera.close()


PIPED = """
import sys
from fer_edge.monitor import DriverMonitor, WholeFrame
with DriverMonitor(sys.argv[1], "/dev/stdin", detector=WholeFrame()) as monitor:
    for state in monitor:
        print(state.health.status)
"""


@pytest.mark.skipif(not Path("/dev/stdin").exists(), reason="no /dev/stdin here")
@pytest.mark.parametrize("is_video", [True, False])
def test_a_pipe_ends(is_video: bool, tmp_path: Path, fake_bundle: Path) -> None:
    clip = write(tmp_path / "clip.mkv", 30, code="MJPG").read_bytes() if is_video else b"text"
    command = [sys.executable, "-B", "-c", PIPED, str(fake_bundle)]
    done = subprocess.run(command, input=clip, capture_output=True, check=False, timeout=60)
    if is_video:
        assert done.returncode == 0, done.stderr
        assert b"ok" in done.stdout
    else:
        assert b"is a pipe without a video" in done.stderr


# Names.


@pytest.mark.parametrize(
    "name", ["2026-11-25T12:30:01.mp4", "a ! b.mp4", "rtsp:.mp4", "http:clip.mp4", "50 %.mp4"]
)
def test_a_name_of_a_file_is_that_file(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "clip.mp4").rename(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    for source in (name, f"./{name}", Path(name), tmp_path / name):
        opened = open_source(source)
        assert isinstance(opened, VideoFile)
        assert len(read(opened)) == 20


def test_an_address_of_a_file_is_that_file(tmp_path: Path) -> None:
    clip = write(tmp_path / "my clip.mp4")
    for source in (
        f"file://{clip}",
        f"FILE://{clip}",
        f"file://localhost{clip}",
        f"file:{clip}",
        clip.as_uri(),
    ):
        opened = open_source(source)
        assert isinstance(opened, VideoFile), source
        assert len(read(opened)) == 20


def test_an_address_of_a_missing_file_is_a_file_that_is_missing(tmp_path: Path) -> None:
    source = open_source(f"file://{tmp_path}/missing.mp4")
    assert not source.live
    with pytest.raises(SourceError, match="expected a video file"):
        source.open()


@pytest.mark.skipif(not os.access("/dev/shm", os.W_OK), reason="no /dev/shm here")
def test_a_file_in_shared_memory_is_a_file() -> None:
    clip = Path(f"/dev/shm/fer_edge_test_{os.getpid()}.mp4")
    try:
        write(clip)
        assert file_of(str(clip)) == clip
        assert len(read(open_source(str(clip)))) == 20
    finally:
        clip.unlink(missing_ok=True)


@pytest.mark.parametrize("name", ["/dev/video0", "v4l2src ! appsink", "x ! " * 2000, "rtsp://a/b"])
def test_other_names_are_cameras(name: str) -> None:
    assert file_of(name) is None
    assert isinstance(open_source(name), Camera)


@pytest.mark.parametrize("name", ["\udcfc.mp4", "rtsp://\udcfc", "file://\udcfc.mp4"])
def test_a_name_that_would_crash_opencv_is_refused(name: str) -> None:
    with pytest.raises(InputError, match=r"UTF-8.*Rename"):
        open_source(name)


def test_a_folder_that_would_crash_opencv_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / os.fsdecode(b"f\xfcr")
    folder.mkdir()
    monkeypatch.chdir(folder)
    Path("clip.mp4").write_bytes(write(tmp_path / "clip.mp4").read_bytes())
    with pytest.raises(InputError, match="UTF-8"):
        open_source("clip.mp4").open()


@pytest.mark.parametrize("index", [2**31, 10**5000, -(10**5000), -5, -1], ids=shown)
def test_a_number_that_opencv_does_not_take_is_no_camera(index: int) -> None:
    with pytest.raises(InputError, match="number of a camera"):
        open_source(index)


@pytest.mark.parametrize("device", [1.5, True, None, b"/dev/video0", [0], Camera], ids=repr)
def test_another_type_is_no_camera(device: Any) -> None:
    with pytest.raises(InputError, match="number of a camera"):
        Camera(device)


@pytest.mark.parametrize("wrong", [b"x" * 10_000, Camera, Frames, list, True], ids=shown)
def test_bytes_and_classes_are_no_source(wrong: object) -> None:
    with pytest.raises(InputError, match="expected a camera index, path"):
        open_source(wrong)


@pytest.mark.parametrize("threads", ["2", 1.5, True, 0, -1, 10**30, np.zeros(2)], ids=repr)
def test_a_file_is_decoded_on_a_number_of_threads(threads: Any) -> None:
    with pytest.raises(InputError, match="expected 1 to 4096 threads"):
        VideoFile("clip.mp4", threads=threads)


# Times of files.


def test_a_file_without_times_counts_by_its_rate(tmp_path: Path) -> None:
    """JPEGs one after the other: like raw H.264, they have neither times nor a rate."""
    path = tmp_path / "raw.mjpeg"
    noise = np.random.default_rng(0)
    frames = [noise.integers(0, 256, (48, 64, 3), np.uint8) for _ in range(30)]
    path.write_bytes(b"".join(cv2.imencode(".jpg", frame)[1].tobytes() for frame in frames))
    capture = cv2.VideoCapture(str(path))
    hz = capture.get(cv2.CAP_PROP_FPS)
    capture.release()
    hz = hz if 1 <= hz <= 240 else 25.0  # OpenCV 4.8 says 1,000
    times = read(VideoFile(path))
    assert times == pytest.approx([i / hz for i in range(30)], abs=1e-3)


@pytest.mark.parametrize(("hz", "step_s"), [(25.0, 0.04), (1000.0, 0.04), (0.0, 0.04), (10, 0.1)])
def test_a_rate_that_cannot_be_is_not_believed(
    hz: float, step_s: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Raw:
        left = 5

        def isOpened(self) -> bool:  # noqa: N802 (OpenCV's name)
            return True

        def read(self) -> tuple[bool, Image]:
            self.left -= 1
            return self.left >= 0, np.zeros((9, 9, 3), np.uint8)

        def get(self, key: int) -> float:
            return {cv2.CAP_PROP_FPS: hz, cv2.CAP_PROP_FRAME_COUNT: -1.9e14}.get(key, 0.0)

        def release(self) -> None:
            pass

    monkeypatch.setattr(cv2, "VideoCapture", lambda *_: Raw())
    (tmp_path / "raw.h264").write_bytes(b"\0")
    assert read(VideoFile(tmp_path / "raw.h264")) == pytest.approx([i * step_s for i in range(5)])


# What containers state.


@pytest.mark.parametrize(
    ("suffix", "code"), [(".mkv", "MJPG"), (".webm", "VP80"), (".avi", "MJPG")]
)
def test_a_file_that_was_cut_off_is_damaged(suffix: str, code: str, tmp_path: Path) -> None:
    path = write(tmp_path / f"clip{suffix}", 40, code=code)
    assert len(read(VideoFile(path))) == 40
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(SourceError, match=r"damaged.*bytes are missing.*gave \d+ frames"):
        read(VideoFile(path))


def double_duration(path: Path) -> None:
    """Let a Matroska file state twice its duration: OpenCV then guesses twice the frames."""
    data = bytearray(path.read_bytes())
    place = data.index(b"\x44\x89\x88") + 3
    (duration,) = struct.unpack_from(">d", data, place)
    struct.pack_into(">d", data, place, 2 * duration)
    path.write_bytes(data)


def double_rate(path: Path) -> None:
    """Let a Matroska file state half the time between frames."""
    data = bytearray(path.read_bytes())
    place = data.index(b"\x23\xe3\x83\x84") + 4  # DefaultDuration, in nanoseconds
    (step,) = struct.unpack_from(">I", data, place)
    assert step == 50_000_000
    struct.pack_into(">I", data, place, step // 2)
    path.write_bytes(data)


def test_a_guessed_number_of_frames_is_no_promise(tmp_path: Path) -> None:
    path = write(tmp_path / "clip.mkv", 30, code="MJPG")
    double_duration(path)
    capture = cv2.VideoCapture(str(path))
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) > 50
    capture.release()
    assert len(read(VideoFile(path))) == 30


def test_an_mp4_that_gives_fewer_frames_than_it_states_is_damaged(tmp_path: Path) -> None:
    path = write(tmp_path / "clip.mp4", 40)
    data = bytearray(path.read_bytes())
    start = data.index(b"mdat") + 4
    end = start + int.from_bytes(data[start - 8 : start - 4], "big") - 8
    data[start + (end - start) // 3 : end] = bytes(end - start - (end - start) // 3)
    path.write_bytes(data)
    with pytest.raises(SourceError, match=r"damaged: it gave \d+ of 40 frames"):
        read(VideoFile(path))


def hide_half(path: Path) -> None:
    """Let the edit list of an MP4 show its second half only."""
    data = bytearray(path.read_bytes())
    place = data.index(b"elst") + 4
    length, start, rate = struct.unpack_from(">Iii", data, place + 8)
    scale = struct.unpack_from(">I", data, data.index(b"mdhd") + 16)[0]
    movie = struct.unpack_from(">I", data, data.index(b"mvhd") + 16)[0]
    half = length // 2
    struct.pack_into(">Iii", data, place + 8, half, start + half * scale // movie, rate)
    path.write_bytes(data)


def test_frames_that_an_edit_list_hides_are_not_missed(tmp_path: Path) -> None:
    path = write(tmp_path / "clip.mp4", 40)
    hide_half(path)
    assert 18 <= len(read(VideoFile(path))) <= 40


def test_a_video_without_frames_is_not_an_empty_one(tmp_path: Path, fake_bundle: Path) -> None:
    path = write(tmp_path / "none.avi", count=0, code="MJPG")
    with DriverMonitor(fake_bundle, path, detector=WholeFrame()) as monitor:
        (state,) = monitor
    assert state.health.status == "lost"
    assert "no frame that OpenCV can read" in state.health.reasons[0]


# Frames of an application.


def test_frames_come_from_an_iterable() -> None:
    for wrong in (None, 5, list, dict, WholeFrame):
        with pytest.raises(InputError, match="expected an iterable of frames"):
            Frames(wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("ret", [True, np.True_])
@pytest.mark.parametrize("live", [True, False])
def test_pairs_of_cap_read_are_refused_with_its_name(
    ret: object, live: bool, fake_bundle: Path, picture: Picture
) -> None:
    pairs = Frames([(ret, picture(n)) for n in range(5)], live=live)
    monitor = DriverMonitor(fake_bundle, pairs, detector=WholeFrame())
    with monitor, pytest.raises(InputError, match=r"cap\.read\(\)"):
        list(monitor)


@pytest.mark.parametrize("hz", [0, -1, float("nan"), float("inf"), "30", True])
def test_a_rate_of_frames_is_a_finite_number_above_0(hz: Any) -> None:
    with pytest.raises(InputError, match="above 0"):
        Frames([], hz=hz)


@pytest.mark.parametrize("live", [None, "yes", 1, np.zeros(2)], ids=repr)
def test_live_is_true_or_false(live: Any) -> None:
    with pytest.raises(InputError, match="live as True or False"):
        Frames([], live=live)


def test_a_clip_behind_an_address_has_an_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = write(tmp_path / "clip.mp4")
    opened = cv2.VideoCapture
    monkeypatch.setattr(cv2, "VideoCapture", lambda *_: opened(str(clip)))
    camera = Camera("https://example.org/clip.mp4")
    camera.open()
    for _ in range(20):
        assert camera.read() is not None
    with pytest.raises(StopIteration):
        camera.read()
    camera.close()
