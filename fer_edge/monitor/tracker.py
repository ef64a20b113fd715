"""Tracker: boxes between detections, and a stable number for each person."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from fer_edge.monitor.detector import Face, clip_box
from fer_edge.preprocess import Box

# Alpha-beta filter: gains applied to the residual (detection - prediction) of position, velocity
# and size. YuNet's boxes jitter by a few per cent of the face; a head starts and stops in 0.2 s.
_ALPHA, _BETA, _SIZE = 0.8, 0.4, 0.5
_COAST_S = 0.3
"""Longest extrapolation with the last velocity, in seconds."""
_LEAST_S = 1 / 30
"""Shortest time in seconds over which a residual counts as motion. In a shorter one, as between
frames that arrive together, the jitter of a box would be a leap."""
_GATE, _GATE_PER_S, _GATE_MAX = 0.6, 1.0, 1.5
"""Largest distance from the prediction, in sides of the face. The values are the start, the growth
per second since the last detection, and the upper bound."""
_CONFIRM = 2
"""Detections that confirm a person: a single one may be a false alarm."""


@dataclass
class Track:
    """One face over time.

    Attributes:
        centre: float64 ``[2]``, centre of the box in pixels.
        size: float64 ``[2]``, width and height in pixels.
        seen_s: Stream time of the last detection, in seconds.
        score: The detector's confidence, 0..1.
        landmarks: float32 ``[5, 2]`` in pixels at the last detection, as in Face, or None.
        speed: float64 ``[2]``, pixels per second.
        hits: Number of detections.
        person: Number of the person; 0 until it is confirmed.
        missed: True if the last detection did not find the face.
    """

    centre: npt.NDArray[np.float64]
    size: npt.NDArray[np.float64]
    seen_s: float
    score: float
    landmarks: npt.NDArray[np.float32] | None
    speed: npt.NDArray[np.float64] = field(default_factory=lambda: np.zeros(2))
    hits: int = 1
    person: int = 0
    missed: bool = False

    def centre_at(self, time_s: float) -> npt.NDArray[np.float64]:
        """Return the extrapolated centre at a stream time, in pixels."""
        return self.centre + self.speed * min(max(time_s - self.seen_s, 0.0), _COAST_S)

    def box_at(self, time_s: float, width: int, height: int) -> Box | None:
        """Return the extrapolated box clipped to the frame, or None outside it."""
        (x, y), (w, h) = self.centre_at(time_s).tolist(), self.size.tolist()
        return clip_box(x - w / 2, y - h / 2, w, h, width, height)

    def landmarks_at(self, time_s: float) -> npt.NDArray[np.float32] | None:
        """Return the landmarks moved with the centre, or None."""
        if self.landmarks is None:
            return None
        return (self.landmarks + (self.centre_at(time_s) - self.centre)).astype(np.float32)


class Tracker:
    """Assigns detections to persons, the nearest pairs first.

    Numbers count from 1 and are never used twice.

    Args:
        forget_s: Seconds without a detection until a person is dropped.
    """

    def __init__(self, forget_s: float) -> None:
        self._forget_s = forget_s
        self._tracks: list[Track] = []
        self._persons = 0

    @property
    def people(self) -> list[Track]:
        """Confirmed tracks, including those that the last detection missed."""
        return [track for track in self._tracks if track.person]

    def clear(self) -> None:
        """Drop all tracks, because the scene has changed."""
        self._tracks = []

    def update(self, faces: list[Face], time_s: float) -> None:
        """Update the tracks with the faces detected in the frame at ``time_s``."""
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
        """Return the distance in face sides, or None outside the gate."""
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
            track.speed = track.speed + _BETA * (centre - expected) / max(passed, _LEAST_S)
        else:  # found again after a loss: its velocity is unknown
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
