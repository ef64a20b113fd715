"""Sources and the thread that reads them: newest wins, files whole, cameras opened again."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from fer_edge.errors import InputError, SourceError
from fer_edge.monitor.capture import FrameReader
from fer_edge.monitor.sources import Camera, Frame, Frames, FrameSource, VideoFile, open_source


class Scripted:
    """A live source that does what its script says: a number is a frame, the rest goes wrong."""

    live = True

    def __init__(self, *script: object) -> None:
        self._script = list(script)
        self.opened = self.closed = 0

    def open(self) -> None:
        self.opened += 1
        if self._script[0] == "will not open":
            self._script.pop(0)
            raise SourceError("the camera 0 cannot be opened")

    def read(self) -> Frame | None:
        step = self._script.pop(0)
        if isinstance(step, Exception):
            raise step
        return None if step is None else Frame(step)

    def close(self) -> None:
        self.closed += 1


def video(path: Path, count: int, fourcc: str = "MJPG", hz: float = 20.0) -> list[int]:
    """Write frames that are each of one brightness, and give those."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*fourcc), hz, (64, 48))
    assert writer.isOpened()
    levels = [20 + 200 * i // count for i in range(count)]
    for level in levels:
        writer.write(np.full((48, 64, 3), level, np.uint8))
    writer.release()
    return levels


def taken(feed: FrameReader) -> list[Any]:
    """All frames of a source that ends."""
    found = []
    while not feed.ended:
        if (arrival := feed.take(5.0)) is not None:
            found.append(arrival)
    return found


def test_of_a_cameras_frames_the_newest_wins(clock: Callable[[], float]) -> None:
    feed = FrameReader(Scripted(10, 11, 12), clock)
    for _ in range(3):
        assert feed.pump() == 0
    arrival = feed.take(0)
    assert arrival is not None
    assert (arrival.image, arrival.index) == (12, 2)
    assert feed.take(0) is None
    assert not feed.ended


def test_all_frames_of_a_file_come_in_order_with_its_own_times(tmp_path: Path) -> None:
    levels = video(tmp_path / "clip.avi", 30)
    feed = FrameReader(VideoFile(tmp_path / "clip.avi"), lambda: 0.0)
    feed.start()
    arrivals = taken(feed)
    feed.stop()
    assert [round(float(a.image.mean())) for a in arrivals] == pytest.approx(levels, abs=2)
    assert [a.index for a in arrivals] == list(range(30))
    assert [a.own_time_s for a in arrivals] == pytest.approx([i / 20 for i in range(30)], abs=1e-3)
    assert feed.fault is None


@pytest.mark.parametrize("kind", ["generator", "live generator", "source"])
def test_a_buffer_that_is_written_again_keeps_its_frames(kind: str) -> None:
    buffer, live = np.zeros((9, 9, 3), np.uint8), kind == "live generator"

    def camera() -> Iterator[np.ndarray]:
        for count in range(12):
            buffer[:] = count
            yield buffer
        buffer[:] = 99

    class Device(Scripted):
        live = False

        def read(self) -> Frame | None:
            return Frame(next(pictures))

    pictures = camera()
    feed = FrameReader(
        Device("opens") if kind == "source" else Frames(pictures, live=live), lambda: 0.0
    )
    if live:  # each frame is taken, and the next one read before it is looked at
        found = [arrival for _ in range(13) if feed.pump() == 0 and (arrival := feed.take(0))]
    else:
        feed.start()
        found = taken(feed)
        feed.stop()
    assert [arrival.image.mean() for arrival in found] == list(range(12))


def test_frames_of_a_list_are_no_copies() -> None:
    images = list(np.zeros((3, 9, 9, 3), np.uint8))
    feed = FrameReader(Frames(images), lambda: 0.0)
    feed.start()
    for image, arrival in zip(images, taken(feed), strict=True):
        assert arrival.image is image
    feed.stop()


def test_reading_ahead_waits_for_who_takes() -> None:
    given: list[int] = []

    def endless() -> Iterator[int]:
        while True:
            given.append(len(given))
            yield given[-1]

    feed = FrameReader(Frames(endless()), lambda: 0.0)
    feed.start()
    first = feed.take(5.0)
    assert first is not None
    threading.Event().wait(0.05)
    assert len(given) < 10
    feed.stop()


def test_a_camera_that_fails_is_opened_again_with_growing_waits(
    clock: Callable[[], float],
) -> None:
    source = Scripted(
        "will not open", "will not open", "will not open", 1, None, "will not open", 2, 3
    )
    feed = FrameReader(source, clock)
    waits = [feed.pump() for _ in range(3)]
    assert waits == [0.25, 0.5, 1.0]
    assert feed.fault == "the camera 0 cannot be opened"
    assert feed.retries == 3
    assert feed.pump() == 0
    assert (feed.fault, feed.retries) == (None, 0)
    first = feed.take(0)
    assert first is not None
    assert first.reopened
    assert feed.pump() == 0.25
    assert source.closed == 1
    assert "no frame" in str(feed.fault)
    assert feed.pump() == 0.5
    for reopened in (True, False):
        assert feed.pump() == 0
        arrival = feed.take(0)
        assert arrival is not None
        assert arrival.reopened is reopened


def test_waits_do_not_grow_for_ever(clock: Callable[[], float]) -> None:
    feed = FrameReader(Scripted(*["will not open"] * 40), clock)
    assert max(feed.pump() for _ in range(40)) == 8.0


@pytest.mark.parametrize("live", [True, False])
def test_a_source_that_gives_no_frame_objects_is_an_error_of_the_program(live: bool) -> None:
    class Bare(Scripted):
        def read(self) -> Any:
            return np.zeros((9, 9, 3), np.uint8)

    source = Bare(*["opens"] * 9)
    source.live = live
    feed = FrameReader(source, lambda: 0.0)
    feed.start()
    with pytest.raises(InputError, match=r"expected a Frame, got ndarray.*Frame\(image\)"):
        feed.take(20.0)
    assert feed.ended
    feed.stop()


@pytest.mark.parametrize("live", [True, False])
def test_frames_of_an_application_that_exits_end_with_a_fault(live: bool) -> None:
    def exits() -> Iterator[int]:
        yield 1
        sys.exit(3)

    feed = FrameReader(Frames(exits(), live=live), lambda: 0.0)
    feed.start()
    arrivals = taken(feed)
    assert [arrival.image for arrival in arrivals] in ([1], [])  # a camera's fault may come first
    assert "SystemExit(3)" in str(feed.fault)
    feed.stop()


def test_a_driver_that_raises_is_a_fault_and_not_a_crash(clock: Callable[[], float]) -> None:
    feed = FrameReader(Scripted(RuntimeError("USB reset"), 5), clock)
    assert feed.pump() > 0
    assert "USB reset" in str(feed.fault)
    assert feed.pump() == 0


def test_frames_of_an_application_that_break_off_end_with_a_fault() -> None:
    def broken() -> Iterator[int]:
        yield 1
        raise ValueError("lens fell off")

    feed = FrameReader(Frames(broken()), lambda: 0.0)
    feed.start()
    assert [a.image for a in taken(feed)] == [1]
    assert "lens fell off" in str(feed.fault)
    feed.stop()


def test_frames_carry_the_times_they_are_given() -> None:
    def times(frames: Frames) -> list[float | None]:
        feed = FrameReader(frames, lambda: 0.0)
        feed.start()
        found = [a.own_time_s for a in taken(feed)]
        feed.stop()
        return found

    image = np.zeros((9, 9, 3), np.uint8)
    assert times(Frames([image] * 3, hz=10)) == [0, 0.1, 0.2]
    assert times(Frames([(5.0, image), (5.5, image)])) == [5.0, 5.5]
    assert times(Frames(np.zeros((2, 9, 9, 3), np.uint8))) == [None, None]


def test_a_file_that_is_not_there_or_no_video_is_refused_at_the_start(tmp_path: Path) -> None:
    text = tmp_path / "note.mp4"
    text.write_text("no video")
    for path in (tmp_path / "missing.mp4", text, tmp_path):
        with pytest.raises(SourceError, match=r"expected a video|is not a video"):
            FrameReader(VideoFile(path), lambda: 0.0).start()


def test_a_file_that_was_cut_off_says_how_much_came(tmp_path: Path) -> None:
    path = tmp_path / "clip.avi"
    video(path, 60)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    feed = FrameReader(VideoFile(path), lambda: 0.0)
    feed.start()
    arrivals = taken(feed)
    feed.stop()
    assert 10 < len(arrivals) < 50
    assert f"{len(data) - len(data) // 2} of its {len(data)} bytes are missing" in str(feed.fault)
    assert f"gave {len(arrivals)} frames" in str(feed.fault)


def test_a_camera_that_opencv_reads_is_opened_again_when_it_runs_dry(tmp_path: Path) -> None:
    """OpenCV reads a file as it reads a camera that is unplugged after its last frame."""
    levels = video(tmp_path / "clip.avi", 5)
    feed = FrameReader(Camera(str(tmp_path / "clip.avi")), lambda: 0.0)
    for _ in range(2):
        seen = []
        for _ in levels:
            assert feed.pump() == 0
            arrival = feed.take(0)
            assert arrival is not None
            seen.append(round(float(arrival.image.mean())))
        assert seen == pytest.approx(levels, abs=2)
        assert feed.pump() > 0
        assert "unplugged" in str(feed.fault)


@pytest.mark.parametrize(
    "device",
    [
        99,
        "/dev/video99",
        "rtsp://driver:secret@127.0.0.1:1/stream",
        "rtsp://driver:p@secret@127.0.0.1:1/stream",
        "rtspsrc location=rtsp://driver:secret@127.0.0.1:1/stream ! appsink",
        "rtspsrc location=rtsp://127.0.0.1:1/stream user-pw=secret ! appsink",
    ],
)
def test_a_camera_that_is_not_there_says_so_and_no_password(device: int | str) -> None:
    with pytest.raises(SourceError, match="plugged in") as raised:
        Camera(device).open()
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    ("named", "kind"),
    [
        (0, Camera),
        ("rtsp://camera/stream", Camera),
        ("v4l2src ! videoconvert ! appsink", Camera),
        ("/dev/video0", Camera),
        ("clip.mp4", VideoFile),
        (Path("clip.mp4"), VideoFile),
        ([np.zeros((9, 9, 3), np.uint8)], Frames),
        (Scripted(), Scripted),
    ],
)
def test_a_source_is_known_by_its_name(named: object, kind: type) -> None:
    source: FrameSource = open_source(named)
    assert isinstance(source, kind)
    assert source.live is (kind in (Camera, Scripted))


@pytest.mark.parametrize("named", [None, True, 1.5, object()])
def test_what_is_no_source_is_refused(named: object) -> None:
    with pytest.raises(InputError, match="expected a camera"):
        open_source(named)


def test_frames_without_a_rate_above_zero_are_refused() -> None:
    with pytest.raises(InputError, match="above 0"):
        Frames([], hz=0)


def test_stopping_closes_the_source_and_its_thread() -> None:
    before = set(threading.enumerate())
    source = Scripted(*range(1000))
    feed = FrameReader(source, lambda: 0.0)
    feed.start()
    assert feed.take(5.0) is not None
    feed.stop()
    assert source.closed >= 1
    assert set(threading.enumerate()) <= before


def test_a_source_that_is_not_read_ahead_is_read_by_who_takes(tmp_path: Path) -> None:
    threads: list[int] = []

    class Here(VideoFile):
        reads_ahead = False

        def read(self) -> Frame:
            threads.append(threading.get_ident())
            return super().read()

    levels = video(tmp_path / "clip.avi", 6)
    source = Here(tmp_path / "clip.avi", threads=1)
    feed = FrameReader(source, lambda: 0.0)
    feed.start()
    assert threads == []
    found = [feed.take(5.0) for _ in levels]
    assert [frame.image.mean() for frame in found if frame] == pytest.approx(levels, abs=3)
    assert (feed.take(5.0), feed.ended) == (None, True)
    assert set(threads) == {threading.get_ident()}
    feed.stop()
    assert source._capture is None


def test_what_breaks_off_without_reading_ahead_is_a_fault() -> None:
    class Here(Frames):
        reads_ahead = False

    def broken() -> Iterator[np.ndarray]:
        yield np.zeros((4, 4, 3), np.uint8)
        raise RuntimeError("the decoder is gone")

    feed = FrameReader(Here(broken(), hz=30), lambda: 0.0)
    feed.start()
    assert feed.take(5.0) is not None
    assert feed.take(5.0) is None
    assert "the decoder is gone" in (feed.fault or "")
    feed.stop()
    assert feed.take(5.0) is None
