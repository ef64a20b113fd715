"""Ends that end: closing in mid-frame, and programs that end without closing."""

from __future__ import annotations

import gc
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from fer_edge.monitor import Boxes, DriverMonitor, Frames, WholeFrame
from fer_edge.monitor.failover import FailoverPredictor
from fer_edge.monitor.health import HealthMonitor
from fer_edge.predictor import Predictor
from fer_edge.preprocess import Box, Image

Picture = Callable[..., Image]


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    path = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 20.0, (640, 480))
    for level in range(20):
        writer.write(np.full((480, 640, 3), 10 * level, np.uint8))
    writer.release()
    return path


# close() while a frame is processed.


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Each Predictor that a monitor makes."""
    made: list[object] = []
    init = Predictor.__init__

    def count(self: Predictor, *arguments: Any, **options: Any) -> None:
        made.append(self)
        init(self, *arguments, **options)

    monkeypatch.setattr(Predictor, "__init__", count)
    return made


def test_a_signal_handler_may_close_in_the_middle_of_a_frame(
    fake_bundle: Path, picture: Picture, loads: list[object]
) -> None:
    seen: list[int] = []

    def find(image: Image) -> list[Box]:
        seen.append(1)
        if len(seen) == 3:
            signal.raise_signal(signal.SIGTERM)  # the handler runs in this thread, here
        return [(0, 0, 64, 64)]

    shown = Frames((picture(n) for n in range(1000)), hz=30)
    monitor = DriverMonitor(fake_bundle, shown, detector=Boxes(find))
    before = signal.signal(signal.SIGTERM, lambda *_: monitor.close())
    try:
        states = list(monitor)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert len(seen) == 3
    assert len(states) < 20
    assert len(loads) == 1  # no engine was loaded for a monitor that is closed
    assert monitor.frame is None


def test_a_signal_handler_may_close_while_the_engine_works(
    fake_bundle: Path, picture: Picture, loads: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    main, answer = threading.get_ident(), Predictor.predict_batch
    calls: list[int] = []

    def predict(self: Predictor, faces: Any, **options: Any) -> Any:
        calls.append(1)
        if len(calls) == 3:
            signal.pthread_kill(main, signal.SIGTERM)
        return answer(self, faces, **options)

    monkeypatch.setattr(Predictor, "predict_batch", predict)
    shown = Frames((picture(n) for n in range(1000)), hz=30)
    monitor = DriverMonitor(fake_bundle, shown, detector=WholeFrame())
    before = signal.signal(signal.SIGTERM, lambda *_: monitor.close())
    try:
        list(monitor)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert len(calls) == 3
    assert len(loads) == 1


def test_close_does_not_wait_for_an_engine_that_hangs_while_it_loads(fake_bundle: Path) -> None:
    loading, never = threading.Event(), threading.Event()
    made: list[Predictor] = []

    def make(exclude: Collection[str]) -> Predictor:
        if made:
            loading.set()
            never.wait(60)
        made.append(Predictor(fake_bundle))
        return made[-1]

    inference = FailoverPredictor(make, HealthMonitor(), lambda: 0.0, 5.0)
    first = inference.predictor
    assert first is not None
    first.close()  # the next frame needs another engine
    answers: list[object] = []
    faces = np.zeros((1, 48, 48, 3), np.uint8)
    thread = threading.Thread(target=lambda: answers.append(inference.predict(faces)))
    thread.start()
    assert loading.wait(10)
    inference.close()
    thread.join(30)  # far less than a load may take
    assert answers == [None]
    assert inference.predictor is None
    never.set()


def test_a_monitor_that_is_dropped_stops_its_threads(fake_bundle: Path, picture: Picture) -> None:
    before = set(threading.enumerate())
    shown = Frames((picture(n) for n in range(10_000)), live=True)
    monitor = DriverMonitor(fake_bundle, shown, detector=WholeFrame())
    next(monitor)
    started = set(threading.enumerate()) - before
    assert len(started) == 2
    del monitor
    gc.collect()
    for thread in started:
        thread.join(10)
    assert not any(thread.is_alive() for thread in started)


# The end of a program that does not close. OpenCV reads the clip as a camera, again and again.

PROGRAM = """
import signal, sys, threading, time
from fer_edge.monitor import Camera, DriverMonitor, WholeFrame

monitor = DriverMonitor(sys.argv[1], Camera(sys.argv[2]), detector=WholeFrame())
how = sys.argv[3]
if how == "thread":
    seen = threading.Event()
    def watch():
        for state in monitor:
            seen.set()
    threading.Thread(target=watch, daemon=True).start()
    seen.wait(30)
    sys.exit(3)
if how == "sigterm":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(3))
    threading.Timer(0.3, signal.raise_signal, [signal.SIGTERM]).start()
for state in monitor:
    if state.frame_index > 5 and how != "sigterm":
        break
if how == "exit":
    sys.exit(3)
if how == "raise":
    raise ValueError("the application's own error")
if how == "dropped":
    del monitor, state
"""


@pytest.mark.parametrize(
    ("how", "code"),
    [("plain", 0), ("exit", 3), ("raise", 1), ("thread", 3), ("sigterm", 3), ("dropped", 0)],
)
def test_a_program_that_does_not_close_keeps_its_exit_code(
    how: str, code: int, fake_bundle: Path, clip: Path
) -> None:
    command = [sys.executable, "-B", "-c", PROGRAM, str(fake_bundle), str(clip), how]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == code, done.stderr
    if how != "raise":
        assert done.stderr == ""
