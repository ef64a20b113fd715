"""Run of ``fer-edge video``: watch a source, draw, record and sum up."""

from __future__ import annotations

import statistics
import time
from collections import Counter, deque
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np

from fer_edge.errors import SourceError
from fer_edge.monitor import DriverMonitor, HealthCause, MonitorState
from fer_edge.monitor.opencv_names import opencv_name
from fer_edge.monitor.overlay import draw
from fer_edge.monitor.recorder import EventLog, VideoRecorder
from fer_edge.monitor.sources import file_of
from fer_edge.opencv_log import quiet_opencv, silence_ffmpeg
from fer_edge.paths import absolute
from fer_edge.plain_file import is_file
from fer_edge.preprocess import Image

_USUAL_HZ = 30.0
"""Frame rate in Hz of a saved video whose source reports none. A camera is such a source."""
_FIRST_FRAME_S = 10.0
"""Seconds to wait for a camera's first frame."""
_RATE_FRAMES = 30
"""Number of answered frames over which the present rate is measured."""
_AGES = 10_000
"""Number of newest answers whose median age is reported."""


class Tally:
    """Summary of a run. Its size does not grow with the duration.

    Attributes:
        frames: Number of answered frames.
        last: The last state, or None.
        driver_s: Seconds of stream time by the driver's label, "unknown" or "nobody".
        health_s: Seconds of stream time by status of the health.
        began: Number of events by kind.
        most_persons: Largest number of persons in one state.
        exit: SystemExit that ended the run, as SIGTERM does, or None.
    """

    def __init__(self) -> None:
        self.frames = 0
        self.last: MonitorState | None = None
        self.driver_s: Counter[str] = Counter()
        self.health_s: Counter[str] = Counter()
        self.began: Counter[str] = Counter()
        self.most_persons = 0
        self.exit: SystemExit | None = None
        self._ages: deque[float] = deque(maxlen=_AGES)
        self._most_age = 0.0
        self._answered_s: deque[float] = deque(maxlen=_RATE_FRAMES)
        self._started_s = time.monotonic()
        self._start_s = 0.0

    def add(self, state: MonitorState) -> None:
        """Count one state."""
        before, so_far_s = self.last, self.stream_s
        if before is None or before.frame_index < 0 <= state.frame_index:
            self._start_s = state.time_s - so_far_s  # the source's time may start anywhere
        self.last = state
        passed_s = self.stream_s - so_far_s
        self.health_s[state.health.status] += passed_s  # type: ignore[assignment]
        driver = state.driver
        name = "nobody" if driver is None else driver.label or "unknown"
        self.driver_s[name] += passed_s  # type: ignore[assignment]
        self.began.update(event.kind for event in state.events if event.end_s is None)
        self.most_persons = max(self.most_persons, len(state.persons))
        if state.frame_index >= 0 and (before is None or state.frame_index > before.frame_index):
            self.frames += 1
            self._ages.append(state.age_ms)
            self._most_age = max(self._most_age, state.age_ms)
            self._answered_s.append(time.monotonic())

    @property
    def stream_s(self) -> float:
        """Seconds of stream time since the first state."""
        return 0.0 if self.last is None else self.last.time_s - self._start_s

    @property
    def hz(self) -> float | None:
        """Answered frames per second over the last 30 answers, or None."""
        if len(self._answered_s) < 2:
            return None
        return (len(self._answered_s) - 1) / max(self._answered_s[-1] - self._answered_s[0], 1e-9)

    @property
    def status(self) -> str:
        """One line about the present."""
        if self.last is None:
            return ""
        driver = self.last.driver
        person = "no driver" if driver is None else f"driver {driver.label or 'unknown'}"
        rate = f", {self.hz:.1f} fps" if self.hz else ""
        return f"{self.stream_s:.1f} s{rate}, {self.last.health.status}, {person}"

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON.

        ``age_ms`` is the time from a frame's arrival to its answer: the median of the last 10,000
        and the largest of all. Seconds are stream time, except for ``wall_s``.
        """
        last = self.last
        wall_s = time.monotonic() - self._started_s
        return {
            "frames": self.frames,
            "dropped": last.frame_index + 1 - self.frames if last else 0,
            "stream_s": self.stream_s,
            "wall_s": wall_s,
            "hz": self.frames / max(wall_s, 1e-9),
            "age_ms": {
                "median": statistics.median(self._ages) if self._ages else None,
                "most": self._most_age if self._ages else None,
            },
            "most_persons": self.most_persons,
            "driver_s": dict(self.driver_s.most_common()),
            "health_s": dict(self.health_s.most_common()),
            "events": dict(self.began.most_common()),
        }


class Window:
    """Window on the screen. Needs opencv-python; opencv-python-headless has no windows."""

    def __init__(self, title: str) -> None:
        self._title = title
        cv2.namedWindow(title, cv2.WINDOW_NORMAL)

    def show(self, frame: Image) -> bool:
        """Show a BGR frame; return False after Q, Esc or closing."""
        cv2.imshow(self._title, frame)
        if cv2.waitKey(1) & 0xFF in (ord("q"), 27):
            return False
        return bool(cv2.getWindowProperty(self._title, cv2.WND_PROP_VISIBLE) >= 1)

    def close(self) -> None:
        """Close the window."""
        cv2.destroyWindow(self._title)


def open_window(title: str) -> Window | None:
    """Open a window, or return None if OpenCV cannot."""
    try:
        return Window(title)
    except cv2.error:
        return None


def rate_and_length(source: object) -> tuple[float, int | None]:
    """Read frame rate (Hz) and number of frames of a video file.

    Returns:
        30 Hz and None for anything but a file, and in place of values that the header lacks.
    """
    file = file_of(source)
    if file is None or not is_file(file):
        return _USUAL_HZ, None
    silence_ffmpeg()
    with quiet_opencv():
        capture = cv2.VideoCapture(opencv_name(absolute(file)))
    hz, frames = capture.get(cv2.CAP_PROP_FPS), capture.get(cv2.CAP_PROP_FRAME_COUNT)
    capture.release()
    return hz if 1 <= hz <= 240 else _USUAL_HZ, round(frames) if 0 < frames < 1e9 else None


def _file_fault(state: MonitorState) -> str | None:
    """Return the sentence about a file that ended early or has an unusable clock, or None.

    A wait for its next frame is no fault: a disk may pause.
    """
    for finding in state.health.findings:
        if finding.cause is HealthCause.SOURCE_ENDED:
            return finding.reason
        if finding.cause.part == "clock" and finding.severity == "lost":
            return f"at frame {state.frame_index} {finding.reason}"
    return None


def watch(
    monitor: DriverMonitor,
    *,
    live: bool,
    recorder: VideoRecorder | None = None,
    events: EventLog | None = None,
    window: Window | None = None,
    seconds: float | None = None,
    tick: Callable[[Tally], None] = lambda tally: None,
) -> tuple[Tally, str | None]:
    """Watch a source until its end, Ctrl-C, SIGTERM, or the window is closed.

    After SIGTERM, ``exit`` of the summary is to be raised once all files are closed.

    Args:
        monitor: The monitor to iterate.
        live: True for cameras and streams, False for files.
        recorder: Gets the drawn frames, or None.
        events: Gets the events, or None.
        window: Shows the drawn frames, or None.
        seconds: Seconds of stream time after which to stop, or None.
        tick: Called after each state.

    Returns:
        The summary, and the fault that ended the source early or left a file without times, or
        None.

    Raises:
        SourceError: The source gave no frame.
        FerEdgeError: The monitor, the recorder or the log failed.
    """
    tally = Tally()
    canvas: Image | None = None
    began_s = time.monotonic()
    fault: str | None = None
    try:
        for state in monitor:
            tally.add(state)
            if events is not None and state.frame_index >= 0:
                events.begin()
            if not live:
                fault = fault or _file_fault(state)
            if live and state.frame_index < 0 and time.monotonic() - began_s > _FIRST_FRAME_S:
                raise SourceError("; ".join(state.health.reasons))
            for event in state.events:
                if events is not None:
                    events.write(event)
            if monitor.frame is not None:
                canvas = monitor.frame
            elif canvas is not None:
                canvas = np.zeros_like(canvas)  # the last frame does not show the present
            is_open = True
            if canvas is not None and (recorder or window):
                drawn = draw(canvas, state, tally.hz)
                if recorder is not None:
                    recorder.write(drawn, state.time_s)
                is_open = window is None or window.show(drawn)
            tick(tally)
            if not is_open or (seconds is not None and tally.stream_s >= seconds):
                break
    except KeyboardInterrupt:  # the usual end with a camera; recorded files are kept
        pass
    except SystemExit as end:  # the usual end under a supervisor
        tally.exit = end
    if tally.frames == 0 and not live and tally.exit is None:
        raise SourceError(fault or "the source gave no frame. Check it with another program")
    return tally, fault
