"""Pipeline from one frame to one state, without threads or waiting."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from fer_edge.bundle import Bundle
from fer_edge.monitor.capture import CapturedFrame
from fer_edge.monitor.causes import HealthCause
from fer_edge.monitor.deadline import DeadlineScheduler
from fer_edge.monitor.detector import MAX_FACES, Detector, find_faces
from fer_edge.monitor.expression_filter import ExpressionFilter
from fer_edge.monitor.face_crop import cut_face
from fer_edge.monitor.failover import FaceClassifier
from fer_edge.monitor.frame_checks import FrameChecks
from fer_edge.monitor.health import HealthMonitor
from fer_edge.monitor.quality import QualityIssue
from fer_edge.monitor.settings import Settings
from fer_edge.monitor.state import Event, MonitorState, PersonState
from fer_edge.monitor.stream_clock import StreamClock
from fer_edge.monitor.tracker import Track, Tracker
from fer_edge.preprocess import Box, Image


class Observation(NamedTuple):
    """One person in one frame.

    Both fields are None if the face was not classified.
    """

    probabilities: npt.NDArray[np.float64] | None = None
    issue: QualityIssue | None = None


class Pipeline:
    """Detector, tracker, quality checks, classifier and expression filters in turn.

    Args:
        bundle: Supplies labels, crop rule and abstention threshold.
        detector: Finds the faces.
        classifier: Classifies the face crops. The crop rule and threshold of a bundle that it
            exchanges are taken from the next frame on; its labels are the same.
        settings: Thresholds and times.
        health: Gets the faults of camera, picture, detector and deadline.
        clock: Returns seconds that never run back.
        live: True skips stages to keep ``settings.deadline_s``. False (a file) skips nothing.
    """

    def __init__(
        self,
        bundle: Bundle,
        detector: Detector,
        classifier: FaceClassifier,
        settings: Settings,
        health: HealthMonitor,
        clock: Callable[[], float],
        *,
        live: bool,
    ) -> None:
        self.frame: Image | None = None
        """Frame of the last state, uint8 ``[H, W, 3]`` BGR. None if it had no usable frame."""
        self.bundle = bundle
        self._detector = detector
        self._classifier = classifier
        settings.event_rules(bundle.labels)  # refused before the first face, not at it
        self._settings = settings
        self._health = health
        self._clock = clock
        self._live = live
        self._checks = FrameChecks(settings, health)
        self._tracker = Tracker(settings.forget_s)
        self._persons: dict[int, ExpressionFilter] = {}
        self._boxes: dict[int, Box] = {}
        self._driver = 0
        self._shape: tuple[int, ...] | None = None
        self._index = -1
        self._stream = StreamClock(live=live)
        self._detected_s = -np.inf
        self._since_detection = 0
        self._deadline = DeadlineScheduler(clock, health, settings.deadline_s if live else None)

    def process(self, frame: CapturedFrame) -> MonitorState:
        """Return the state after a frame."""
        begun_s = self._clock()
        time_s = self._begin(frame, begun_s)
        self.frame = image = self._check(frame, time_s)
        fault = self._stream.fault
        if image is None or (fault is not None and fault.severity == "lost"):
            return self._lost(time_s)
        events = [] if image.shape == self._shape else self._new_scene(image.shape, time_s)
        self._find_faces(image, time_s)
        events += self._forget(time_s)
        rule = self.bundle.crop
        observations = self._classify(image, time_s)
        self._follow_bundle()
        if self.bundle.crop != rule:  # exchanged meanwhile: these faces were cut by the old rule
            observations = self._classify(image, time_s)
        if observations is None:
            return self._lost(time_s, events)
        for track in self._tracker.people:
            events += self._person(track.person).observe(time_s, *observations[track.person])
        driver = self._choose_driver(image, time_s)
        states = [
            person.state(self._boxes[number], number == driver)
            for number, person in sorted(self._persons.items())
        ]
        self._deadline.end()
        self._deadline.took("total", begun_s)
        return self._state(time_s, events, tuple(states))

    def absent(self, reason: str, cause: HealthCause = HealthCause.NO_FRAME) -> MonitorState:
        """Return the state at a moment without a frame.

        Args:
            reason: Sentence for people: the reason why no frame came.
            cause: The same for programs.
        """
        self.frame = None
        self._deadline.times_ms = {}
        if self._live and self._index >= 0:
            self._stream.after_frame(self._deadline.age_s)
        self._health.report(cause, "lost", reason)
        return self._lost(self._stream.time_s)

    def reset_baseline(self) -> None:
        """Learn the baseline of each person again."""
        for person in self._persons.values():
            if person.baseline is not None:
                person.baseline = None
                person.learn_baseline()

    def _begin(self, frame: CapturedFrame, begun_s: float) -> float:
        """Start the clocks of a frame and return its stream time."""
        self._follow_bundle()
        self._index = frame.index
        # A file's frames wait in the queue on purpose: their age counts from their turn.
        self._deadline.begin(frame.index, frame.arrived_s if self._live else begun_s)
        if frame.reopened:
            self._checks.restart()
        time_s = self._stream.at_frame(frame.arrived_s, frame.own_time_s, reopened=frame.reopened)
        if (fault := self._stream.fault) is None:
            self._health.clear("clock")
        else:
            self._health.report(fault.cause, fault.severity, fault.reason)
        return time_s

    def _follow_bundle(self) -> None:
        """Take the crop rule and threshold of the bundle that answers now."""
        bundle = self._classifier.bundle
        if bundle is None or bundle is self.bundle:
            return
        other, self.bundle = bundle.sha256 != self.bundle.sha256, bundle
        for person in self._persons.values():
            person.known_above = self._known_above()
        if other:
            self.reset_baseline()  # learned from the answers of another network

    def _known_above(self) -> float:
        known_above = self._settings.known_above
        return self.bundle.abstain_below if known_above is None else known_above

    def _check(self, frame: CapturedFrame, time_s: float) -> Image | None:
        """Return the frame as BGR, or None without a usable picture."""
        image = self._checks.check(frame.image, time_s)
        age_s = self._deadline.age_s
        if image is not None and self._live and age_s >= self._settings.no_frame_s:
            # It waited so long that the camera may have failed since.
            reason = f"the newest frame is {age_s:.1f} s old"
            self._health.report(HealthCause.OLD_FRAME, "lost", reason)
            return None
        self._health.clear("camera")
        return image

    def _lost(self, time_s: float, events: list[Event] | None = None) -> MonitorState:
        """Emit a state without persons and close their running events."""
        issue: QualityIssue = ("lost", "no frame shows the present")
        emitted = list(events or ())
        for person in self._persons.values():
            emitted += person.observe(time_s, None, issue)
        return self._state(time_s, emitted)

    def _state(
        self, time_s: float, events: list[Event], persons: tuple[PersonState, ...] = ()
    ) -> MonitorState:
        return MonitorState(
            frame_index=self._index,
            time_s=time_s,
            age_ms=1e3 * self._deadline.age_s,
            persons=persons,
            health=self._health.state(),
            events=tuple(events),
            times_ms=self._deadline.times_ms,
            bundle_sha256=self.bundle.sha256,
        )

    def _new_scene(self, shape: tuple[int, ...], time_s: float) -> list[Event]:
        self._shape = shape
        self._tracker.clear()
        self._detected_s = -np.inf
        return self._forget(time_s)

    def _find_faces(self, image: Image, time_s: float) -> None:
        """Detect faces if detection is due, and update the tracks."""
        self._since_detection += 1
        waited_s = time_s - self._detected_s
        due = (
            self._since_detection >= self._settings.detect_every
            or waited_s >= self._settings.detect_within_s
        )
        # Tracks can be extrapolated for this long; later the detector must run, even if late.
        can_wait = waited_s < self._settings.detect_within_s
        if not due or (can_wait and self._deadline.should_skip("detect")):
            return
        start_s = self._clock()
        self._since_detection, self._detected_s = 0, time_s
        try:
            faces = find_faces(self._detector, image)[:MAX_FACES]
        except Exception as error:  # the application's own detector may raise anything
            self._health.report(
                HealthCause.DETECTOR_FAILED, "degraded", f"face detection failed: {error!r}"
            )
            faces = []
        else:
            self._health.clear("detector")
        self._tracker.update(faces, time_s)
        self._deadline.took("detect", start_s)

    def _forget(self, time_s: float) -> list[Event]:
        """Drop persons without a track; return their ending events."""
        tracked = {track.person for track in self._tracker.people}
        events = []
        for number in [number for number in self._persons if number not in tracked]:
            events += self._persons.pop(number).end(time_s)
            self._boxes.pop(number, None)
        return events

    def _classify(self, image: Image, time_s: float) -> dict[int, Observation] | None:
        """Return one observation per person, or None if no engine runs."""
        if not self._classifier.ready():
            return None
        observations: dict[int, Observation] = {}
        readable: list[tuple[int, npt.NDArray[np.uint8]]] = []
        people = sorted(self._tracker.people, key=lambda track: -float(track.size.max()))
        for place, track in enumerate(people):
            face = self._cut(image, track, time_s)
            observations[track.person] = Observation()
            if isinstance(face, tuple):
                observations[track.person] = Observation(issue=face)
            elif place < self._settings.max_persons:
                readable.append((track.person, face))
            else:
                reason = f"only the {self._settings.max_persons} largest faces are classified"
                observations[track.person] = Observation(issue=("crowded", reason))
        if not readable or self._deadline.should_skip("predict"):
            return observations
        start_s = self._clock()
        predictions = self._classifier.predict(np.stack([face for _, face in readable]))
        self._deadline.took("predict", start_s)
        if predictions is None:
            return None
        for (number, _), prediction in zip(readable, predictions, strict=True):
            values = np.fromiter(prediction.probabilities.values(), np.float64)
            observations[number] = Observation(values / values.sum())
        return observations

    def _cut(
        self, image: Image, track: Track, time_s: float
    ) -> npt.NDArray[np.uint8] | QualityIssue:
        height, width = image.shape[:2]
        box = track.box_at(time_s, width, height)
        self._boxes[track.person] = box or self._boxes.get(track.person, (0, 0, 0, 0))
        if track.missed or box is None:
            return "lost", f"the face was last found {time_s - track.seen_s:.1f} s ago"
        landmarks = track.landmarks_at(time_s)
        return cut_face(image, box, landmarks, self.bundle.crop, self._settings)

    def _person(self, number: int) -> ExpressionFilter:
        if number not in self._persons:
            self._persons[number] = ExpressionFilter(
                number, self.bundle.labels, self._settings, self._known_above()
            )
        return self._persons[number]

    def _choose_driver(self, image: Image, time_s: float) -> int:
        """Return the driver's number; 0 if the driver's region is empty.

        The driver stays the driver while in the region. Else the largest face there is taken.
        """
        x, y, w, h = self._settings.driver_region
        height, width = image.shape[:2]
        inside = {}
        for track in self._tracker.people:
            left, top = track.centre_at(time_s) / (width, height)
            if x <= left <= x + w and y <= top <= y + h:
                inside[track.person] = float(track.size.max())
        if self._driver not in inside:
            self._driver = max(inside, key=lambda number: inside[number], default=0)
        if self._driver:
            self._persons[self._driver].learn_baseline()
        return self._driver
