"""One frame in, one state out: no threads and no waiting, so that it can be tested by itself."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from fer_edge.bundle import Bundle
from fer_edge.errors import InputError
from fer_edge.monitor.capture import CapturedFrame
from fer_edge.monitor.deadline import DeadlineScheduler
from fer_edge.monitor.detector import Detector, Face
from fer_edge.monitor.expression_filter import ExpressionFilter
from fer_edge.monitor.face_crop import cut_face
from fer_edge.monitor.failover import FaceClassifier
from fer_edge.monitor.frame_checks import FrameGuard
from fer_edge.monitor.health import HealthMonitor
from fer_edge.monitor.quality import QualityIssue
from fer_edge.monitor.settings import Settings
from fer_edge.monitor.state import Event, MonitorState, PersonState
from fer_edge.monitor.tracker import Track, Tracker
from fer_edge.preprocess import Box, Image

Observation = tuple[npt.NDArray[np.float64] | None, QualityIssue | None]
"""What one frame showed of one person: probabilities, or why there are none, or neither."""


class Pipeline:
    """Detector, tracker, quality, inference and persons in turn.

    live: answers older than the deadline are worth little, so work is left out to keep it.
    """

    def __init__(
        self,
        bundle: Bundle,
        detector: Detector,
        inference: FaceClassifier,
        settings: Settings,
        health: HealthMonitor,
        clock: Callable[[], float],
        *,
        live: bool,
    ) -> None:
        self.frame: Image | None = None
        """The frame of the last state; None where that had none that could be used."""
        self._bundle = bundle
        self._detector = detector
        self._inference = inference
        self._settings = settings
        self._health = health
        self._clock = clock
        self._live = live
        self._guard = FrameGuard(settings, health)
        self._tracker = Tracker(settings.forget_s)
        self._persons: dict[int, ExpressionFilter] = {}
        self._boxes: dict[int, Box] = {}
        self._driver = 0
        self._shape: tuple[int, ...] | None = None
        self._index = -1
        self._time_s = self._last_s = 0.0
        self._shift_s = 0.0
        self._first_s: float | None = None
        self._detected_s = -np.inf
        self._since_detection = 0
        self._pace = DeadlineScheduler(clock, health, settings.deadline_s if live else None)

    def process(self, arrival: CapturedFrame) -> MonitorState:
        """The state after a frame."""
        begun_s = self._clock()
        self._begin(arrival, begun_s)
        image = self._guard.check(arrival.image, self._time_s)
        self.frame = image
        if image is None or self._too_old():
            return self._blank()
        events = [] if image.shape == self._shape else self._new_scene(image.shape)
        self._find_faces(image)
        events += self._forget()
        seen = self._read(image)
        if seen is None:
            return self._blank(events)
        states = []
        for track in self._tracker.people:
            person = self._person(track.person)
            events += person.observe(self._time_s, *seen[track.person])
        driver = self._choose_driver(image)
        for number, person in sorted(self._persons.items()):
            states.append(person.state(self._boxes[number], number == driver))
        self._pace.end()
        self._pace.took("total", begun_s)
        return self._state(tuple(states), events)

    def absent(self, reason: str) -> MonitorState:
        """The state at a moment at which no frame came, and why."""
        self.frame = None
        self._pace.times_ms = {}
        if self._live and self._index >= 0:
            self._time_s = self._last_s + self._pace.age_s
        self._health.report("camera", "lost", reason)
        return self._blank()

    def reset_baseline(self) -> None:
        """Learn the face at rest anew."""
        for person in self._persons.values():
            if person.baseline is not None:
                person.baseline = None
                person.learn_baseline()

    def _begin(self, arrival: CapturedFrame, begun_s: float) -> None:
        self._index = arrival.index
        # A file's frames wait in the queue on purpose: they arrive when it is their turn.
        self._pace.begin(arrival.index, arrival.arrived_s if self._live else begun_s)
        if self._first_s is None:
            self._first_s = arrival.arrived_s
        own_s = arrival.own_time_s
        time_s = arrival.arrived_s - self._first_s if own_s is None else own_s + self._shift_s
        if time_s < self._time_s:  # time never runs back; a source opened again may count from 0
            self._shift_s += self._time_s - time_s
        self._time_s = self._last_s = max(time_s, self._time_s)
        self._health.clear("camera")
        if arrival.reopened:
            self._guard.restart()

    def _too_old(self) -> bool:
        """A frame that waited until its camera may be dead is no picture of now."""
        age_s = self._pace.age_s
        if not self._live or age_s < self._settings.no_frame_s:
            return False
        self.frame = None
        self._health.report("camera", "lost", f"the newest frame is {age_s:.1f} s old")
        return True

    def _blank(self, events: list[Event] | None = None) -> MonitorState:
        """Health is lost: nothing is said about anybody, and what lasted ends in time."""
        doubt: QualityIssue = ("lost", "there is no picture of now")
        told = list(events or ())
        for person in self._persons.values():
            told += person.observe(self._time_s, None, doubt)
        return self._state((), told)

    def _state(self, persons: tuple[PersonState, ...], events: list[Event]) -> MonitorState:
        return MonitorState(
            frame_index=self._index,
            time_s=self._time_s,
            age_ms=1e3 * self._pace.age_s,
            persons=persons,
            health=self._health.state(),
            events=tuple(events),
            times_ms=self._pace.times_ms,
        )

    def _new_scene(self, shape: tuple[int, ...]) -> list[Event]:
        self._shape = shape
        self._tracker.clear()
        self._detected_s = -np.inf
        return self._forget()

    def _find_faces(self, image: Image) -> None:
        self._since_detection += 1
        waited_s = self._time_s - self._detected_s
        due = (
            self._since_detection >= self._settings.detect_every
            or waited_s >= self._settings.detect_within_s
        )
        # Boxes can go on without a detection as long as a speed is believed.
        can_wait = waited_s < self._settings.detect_within_s
        if not due or (can_wait and self._pace.should_skip("detect")):
            return
        start_s = self._clock()
        self._since_detection, self._detected_s = 0, self._time_s
        try:
            faces = self._detector.detect(image)
            if not all(isinstance(face, Face) for face in faces):
                raise InputError(f"expected a list of Face, got {faces!r}")
        except Exception as error:  # the application's own detector may raise anything
            self._health.report("detector", "degraded", f"face detection failed: {error!r}")
            faces = []
        else:
            self._health.clear("detector")
        self._tracker.update(faces, self._time_s)
        self._pace.took("detect", start_s)

    def _forget(self) -> list[Event]:
        """Persons whom the tracker gave up."""
        there = {track.person for track in self._tracker.people}
        events = []
        for number in [number for number in self._persons if number not in there]:
            events += self._persons.pop(number).end(self._time_s)
            self._boxes.pop(number, None)
        return events

    def _read(self, image: Image) -> dict[int, Observation] | None:
        """What the frame shows of each person; None if no engine runs."""
        if not self._inference.ready():
            return None
        seen: dict[int, Observation] = {}
        readable: list[tuple[int, npt.NDArray[np.uint8]]] = []
        people = sorted(self._tracker.people, key=lambda track: -float(track.size.max()))
        for place, track in enumerate(people):
            face = self._cut(image, track)
            seen[track.person] = None, None
            if isinstance(face, tuple):
                seen[track.person] = None, face
            elif place < self._settings.max_persons:
                readable.append((track.person, face))
            else:
                limit = f"only the {self._settings.max_persons} largest faces are read"
                seen[track.person] = None, ("crowded", limit)
        if not readable or self._pace.should_skip("predict"):
            return seen
        start_s = self._clock()
        answers = self._inference.predict(np.stack([face for _, face in readable]))
        self._pace.took("predict", start_s)
        if answers is None:
            return None
        for (number, _), answer in zip(readable, answers, strict=True):
            values = np.fromiter(answer.probabilities.values(), np.float64)
            seen[number] = values / values.sum(), None
        return seen

    def _cut(self, image: Image, track: Track) -> npt.NDArray[np.uint8] | QualityIssue:
        height, width = image.shape[:2]
        box = track.box_at(self._time_s, width, height)
        self._boxes[track.person] = box or self._boxes.get(track.person, (0, 0, 0, 0))
        if track.missed or box is None:
            lost_s = self._time_s - track.seen_s
            return "lost", f"the face was last found {lost_s:.1f} s ago"
        landmarks = track.landmarks_at(self._time_s)
        return cut_face(image, box, landmarks, self._bundle.crop, self._settings)

    def _person(self, number: int) -> ExpressionFilter:
        if number not in self._persons:
            known_above = self._settings.known_above
            self._persons[number] = ExpressionFilter(
                number,
                self._bundle.labels,
                self._settings,
                self._bundle.abstain_below if known_above is None else known_above,
            )
        return self._persons[number]

    def _choose_driver(self, image: Image) -> int:
        """The person in the driver's region: who was the driver, else the largest; 0 for nobody."""
        x, y, w, h = self._settings.driver_region
        height, width = image.shape[:2]
        inside = {}
        for track in self._tracker.people:
            left, top = track.centre_at(self._time_s) / (width, height)
            if x <= left <= x + w and y <= top <= y + h:
                inside[track.person] = float(track.size.max())
        if self._driver not in inside:
            self._driver = max(inside, key=lambda number: inside[number], default=0)
        if self._driver:
            self._persons[self._driver].learn_baseline()
        return self._driver
