"""Who is who from frame to frame: boxes that move on between detections, and stable numbers."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from fer_edge.monitor.detector import Face, clip_box
from fer_edge.preprocess import Box

# An alpha-beta filter: how much of a detection's surprise goes into position, speed and size.
# YuNet's boxes jitter by a few per cent of the face; a head starts and stops within 0.2 s.
_ALPHA, _BETA, _SIZE = 0.8, 0.4, 0.5
_COAST_S = 0.3
"""A speed is believed for so long; heads do not go on forever."""
_GATE, _GATE_PER_S, _GATE_MAX = 0.6, 1.0, 1.5
"""How far off the prediction a face may be found, in sides of the face: at once, more for each
second since it was seen, at most."""
_CONFIRM = 2
"""Detections that make a person: one alone may be a false alarm."""


@dataclass
class Track:
    """One face over time. Everything in pixels of the frame and seconds of the stream."""

    centre: npt.NDArray[np.float64]
    size: npt.NDArray[np.float64]
    seen_s: float
    score: float
    landmarks: npt.NDArray[np.float32] | None
    speed: npt.NDArray[np.float64] = field(default_factory=lambda: np.zeros(2))
    hits: int = 1
    person: int = 0
    """0 until it is confirmed."""
    missed: bool = False
    """The last detection did not find it."""

    def centre_at(self, time_s: float) -> npt.NDArray[np.float64]:
        return self.centre + self.speed * min(max(time_s - self.seen_s, 0.0), _COAST_S)

    def box_at(self, time_s: float, width: int, height: int) -> Box | None:
        """Where it should be now, clipped to the frame; None if it has left it."""
        (x, y), (w, h) = self.centre_at(time_s).tolist(), self.size.tolist()
        return clip_box(x - w / 2, y - h / 2, w, h, width, height)

    def landmarks_at(self, time_s: float) -> npt.NDArray[np.float32] | None:
        if self.landmarks is None:
            return None
        return (self.landmarks + (self.centre_at(time_s) - self.centre)).astype(np.float32)


class Tracker:
    """Assigns detections to persons, the nearest pairs first.

    forget_s: a person who is not found for so long is dropped. Numbers count from 1 and are never
    given twice.
    """

    def __init__(self, forget_s: float) -> None:
        self._forget_s = forget_s
        self._tracks: list[Track] = []
        self._persons = 0

    @property
    def people(self) -> list[Track]:
        """Confirmed tracks, also those that the last detection missed."""
        return [track for track in self._tracks if track.person]

    def clear(self) -> None:
        """Another scene: nobody is who they were."""
        self._tracks = []

    def update(self, faces: list[Face], time_s: float) -> None:
        """Take the faces that a detector found in the frame of ``time_s``."""
        self._tracks = [t for t in self._tracks if time_s - t.seen_s <= self._forget_s]
        unused = dict(enumerate(faces))
        waiting = dict(enumerate(self._tracks))
        pairs = sorted(
            (distance, t, f)
            for t, track in waiting.items()
            for f, face in unused.items()
            if (distance := self._distance(track, face, time_s)) is not None
        )
        for _, t, f in pairs:
            if t in waiting and f in unused:
                self._follow(waiting.pop(t), unused.pop(f), time_s)
        for track in waiting.values():
            track.missed = True
        self._tracks = [track for track in self._tracks if track.person or not track.missed]
        for face in unused.values():
            centre, size = _geometry(face.box)
            self._tracks.append(Track(centre, size, time_s, face.score, face.landmarks))

    @staticmethod
    def _distance(track: Track, face: Face, time_s: float) -> float | None:
        """In sides of the face; None where it cannot be the same."""
        centre, size = _geometry(face.box)
        side = float(np.sqrt(track.size.max() * size.max()))
        if not 0.5 <= size.max() / track.size.max() <= 2.0:
            return None
        distance = float(np.hypot(*(centre - track.centre_at(time_s)))) / side
        gate = min(_GATE + _GATE_PER_S * max(time_s - track.seen_s, 0.0), _GATE_MAX)
        return distance if distance <= gate else None

    def _follow(self, track: Track, face: Face, time_s: float) -> None:
        centre, size = _geometry(face.box)
        expected = track.centre_at(time_s)
        passed = time_s - track.seen_s
        if 0 < passed <= _COAST_S:
            track.speed = track.speed + _BETA * (centre - expected) / passed
        else:  # found again after a loss: how it came there is not known
            track.speed = np.zeros(2)
        track.centre = expected + _ALPHA * (centre - expected)
        track.size = track.size + _SIZE * (size - track.size)
        track.seen_s, track.score, track.landmarks = time_s, face.score, face.landmarks
        track.missed = False
        track.hits += 1
        if track.hits >= _CONFIRM and not track.person:
            self._persons += 1
            track.person = self._persons


def _geometry(box: Box) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    x, y, w, h = box
    return np.array([x + w / 2, y + h / 2]), np.array([w, h], np.float64)
