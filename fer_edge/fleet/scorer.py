"""Scorer of one clip after another: what a worker process runs."""

from __future__ import annotations

import errno
import hashlib
import os
import re
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2

from fer_edge import __version__
from fer_edge.errors import FerEdgeError, InputError
from fer_edge.fleet.clips import Clip
from fer_edge.fleet.parts import Part, part_writer
from fer_edge.fleet.rows import Events, RowMaker, Sparse
from fer_edge.fleet.schema import EVENTS, states_schema
from fer_edge.fleet.sources import opened
from fer_edge.fleet.tally import Counting, Tally
from fer_edge.monitor import (
    Detector,
    DriverMonitor,
    HealthCause,
    MonitorState,
    Settings,
    WholeFrame,
    YuNet,
)
from fer_edge.monitor.fetch_detector import default_path
from fer_edge.predictor import Predictor
from fer_edge.shipped import bundle_path

_NEVER_S = 1e5
"""Seconds for waits that would make states depend on the machine. Workers have a watchdog."""
_MOST_ERROR = 500
_NO_OUTPUT = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}
"""Errors of a full or locked disk, which are the fault of no clip."""
_ENGINE = {HealthCause.FAILOVER, HealthCause.NO_ENGINE}


@dataclass(frozen=True)
class ClipReport:
    """Outcome of one clip.

    Attributes:
        key: The clip's key.
        status: "ok", "partial" (the clip is damaged and gave some frames) or "failed".
        error: Sentence about the fault, or None.
        tally: Figures of the clip, as ``Tally.as_dict`` gives them.
        retry: True if a fresh process may do better: the engine failed, or memory ran out.
    """

    key: str
    status: str
    error: str | None = None
    tally: dict[str, Any] = field(default_factory=lambda: Tally().as_dict())
    retry: bool = False


class EngineFailedError(FerEdgeError):
    """The engine failed in the middle of a clip; its answers are not written."""

    exit_code = 6


class DriveScorer:
    """Scorer of recorded clips with one bundle, for one process.

    Pickling keeps the arguments alone. Bundle and detector are loaded once, before the first clip.
    Inference uses one thread, so that answers do not depend on the number of cores.

    Args:
        bundle: Folder of a bundle. None takes the shipped one.
        settings: Settings of the monitor. None takes the defaults.
        detector: File of YuNet, or a detector that can be pickled. None takes the file of
            ``fer-edge detector fetch``.
        target: As for Predictor.
        precision: As for Predictor.
        every_s: Seconds between rows, as for ``Sparse``. None writes a row for each frame.
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
    ) -> None:
        self.bundle = bundle
        self.settings = settings or Settings()
        self.detector = detector
        self.target = target
        self.precision = precision
        self.every_s = every_s
        self._predictor: Predictor | None = None
        self._faces: Detector | str | Path | None = None

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_predictor": None, "_faces": None}

    def load(self) -> Predictor:
        """Load bundle and detector, unless they are loaded.

        Raises:
            FerEdgeError: As for Predictor and YuNet.
        """
        if self._predictor is None:
            cv2.setNumThreads(1)
            self._faces = self._open_detector()
            predictor = Predictor(self.bundle, self.target, self.precision, threads=1)
            predictor.warm_up()  # an engine that crashes does so before the first clip
            self._predictor = predictor
        return self._predictor

    def close(self) -> None:
        """Release the engine. The next clip loads it again."""
        if self._predictor is not None:
            self._predictor.close()
            self._predictor = None

    def identity(self) -> dict[str, Any]:
        """Return what decides the rows: bundle, variant, detector, settings and version.

        Raises:
            FerEdgeError: Bundle or detector cannot be loaded.
        """
        return {
            "version": __version__,
            "bundle_sha256": self.load().bundle.sha256,
            "variant": self.load().variant.name,
            "labels": list(self.load().labels),
            "detector": self._detector_name(),
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
            beat: Called with the number of states so far, as a sign of life.

        Returns:
            The outcome. A clip that cannot be read has one row with its error.

        Raises:
            FerEdgeError: Bundle or detector cannot be loaded.
            OSError: The output cannot be written.
        """
        self.load()
        try:
            return self._score(clip, Path(out), beat)
        except Exception as error:  # whatever a decoder, a detector or a damaged file raises
            if isinstance(error, OSError) and error.errno in _NO_OUTPUT:
                raise
            retry = isinstance(error, EngineFailedError | MemoryError)
            text = describe(error, clip)
            write_error(Path(out), clip, text, self.identity())
            return ClipReport(clip.key, "failed", text, retry=retry)

    def _open_detector(self) -> Detector:
        if self.detector is None or isinstance(self.detector, str | os.PathLike):
            return YuNet(self.detector or default_path())
        return self.detector

    def _detector_name(self) -> str:
        """Return a name of the detector that changes with its file."""
        if self.detector is None or isinstance(self.detector, str | os.PathLike):
            path = Path(self.detector or default_path())
            return f"YuNet {hashlib.sha256(path.read_bytes()).hexdigest()}"
        return type(self.detector).__name__

    def _score(self, clip: Clip, out: Path, beat: Callable[[int], object]) -> ClipReport:
        maker, part = RowMaker(clip, made_by(self.identity())), part_writer(out, clip)
        counting, events, sparse = Counting(), Events(), Sparse(self.every_s)
        fault: str | None = None
        last: MonitorState | None = None
        with ExitStack() as stack:
            events_part = stack.enter_context(part("events", EVENTS))
            states = stack.enter_context(part("states", states_schema(self.load().labels)))
            monitor = stack.enter_context(self._monitor(clip, stack))
            for number, state in enumerate(monitor):
                if _ENGINE & set(state.health.causes):
                    raise EngineFailedError("; ".join(state.health.reasons))
                counting.add(state)
                events.add(state)
                if sparse.take(state):
                    _add_all(states, maker, state)
                fault = _fault(state) or fault
                last = state
                beat(number)
            if (rest := sparse.rest()) is not None:
                _add_all(states, maker, rest)
            if last is None or counting.tally.frames == 0:
                raise InputError(fault or "the clip has no frame")
            if fault is not None:
                fault = cleaned(fault, clip)
                states.add(maker.failed(fault, last))
            for event in events.all():
                events_part.add(maker.event(event))
            tally = counting.end(events.all())
        return ClipReport(clip.key, "partial" if fault else "ok", fault, tally.as_dict())

    def _monitor(self, clip: Clip, stack: ExitStack) -> DriverMonitor:
        source = stack.enter_context(opened(clip))
        # Waits for decoder and engine end at the supervisor's watchdog: states that tell of a slow
        # machine would differ from run to run.
        settings = replace(self.settings, no_frame_s=_NEVER_S, watchdog_s=_NEVER_S)
        return DriverMonitor(
            self.load(), source, detector=self._faces, settings=settings, clock=source.clock
        )


def made_by(identity: dict[str, Any]) -> dict[str, str]:
    """Return the columns that name the model and the program."""
    return {name: identity[name] for name in ("bundle_sha256", "variant", "version")}


def write_error(out: Path, clip: Clip, error: str, identity: dict[str, Any]) -> None:
    """Write the error row of a clip that could not be scored, and remove other rows of it."""
    part = part_writer(out, clip)
    with part("events", EVENTS), part("states", states_schema(identity["labels"])) as states:
        states.add(RowMaker(clip, made_by(identity)).failed(error))


def _add_all(part: Part, maker: RowMaker, state: MonitorState) -> None:
    for row in maker.states(state):
        part.add(row)


def _fault(state: MonitorState) -> str | None:
    """Return the sentence about a clip that ended early, or whose clock is of no use."""
    for finding in state.health.findings:
        ended = finding.cause == HealthCause.SOURCE_ENDED
        if ended or (finding.cause.part == "clock" and finding.severity == "lost"):
            return finding.reason
    return None


def describe(error: BaseException, clip: Clip) -> str:
    """Return the sentence about an exception, the same on each machine and in each run."""
    text = str(error).strip() or type(error).__name__
    if not isinstance(error, FerEdgeError):
        text = f"{type(error).__name__}: {text}"
    return cleaned(text, clip)


def cleaned(text: str, clip: Clip) -> str:
    """Return a sentence without folders and addresses in memory."""
    text = text.replace(clip.path, clip.name)
    text = re.sub(r"\S*fer_edge-\w{8}[/\\]clip(\.\w+)?", lambda _: clip.name, text)
    text = re.sub(r"0x[0-9a-fA-F]{4,}", "0x…", text)
    return text.encode("utf-8", "backslashreplace").decode()[:_MOST_ERROR]


def new_scorer(
    bundle: Path | None, *, whole_frame: bool = False, detector: Path | None = None, **options: Any
) -> DriveScorer:
    """Return the scorer of the command line, with absolute paths for other processes."""
    faces: Detector | Path | None = WholeFrame() if whole_frame else detector
    if isinstance(faces, Path):
        faces = faces.absolute()
    chosen = None if bundle is None else bundle_path(bundle).absolute()
    return DriveScorer(chosen, detector=faces, **options)
