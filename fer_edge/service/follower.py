"""One live connection's persons over time: the monitor's pipeline, fed with the client's frames."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

from fer_edge.backends.base import Batch
from fer_edge.bundle import Bundle
from fer_edge.errors import EngineError
from fer_edge.monitor import Detector, Settings, WholeFrame
from fer_edge.monitor.capture import CapturedFrame
from fer_edge.monitor.health import HealthMonitor
from fer_edge.monitor.pipeline import Pipeline
from fer_edge.preprocess import decode_image
from fer_edge.results import Prediction
from fer_edge.service.batcher import Batcher
from fer_edge.service.limits import ServiceLimits
from fer_edge.service.schema import LiveAnswer, LivePerson, TimesResponse


@dataclass(frozen=True)
class LiveFrame:
    """number: counted from 1 on its connection. dropped: how many before it were passed over.
    came_s: ``time.monotonic`` at its arrival. data: the encoded picture."""

    number: int
    dropped: int
    came_s: float
    data: bytes


class Follower:
    """Call ``process`` with each frame in turn, in any worker thread, one at a time."""

    def __init__(
        self,
        bundle: Bundle,
        detector: Detector | None,
        batcher: Batcher,
        limits: ServiceLimits,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._limits = limits
        self._whole = detector is None
        # A client's frames come at the pace of the answers, some ten in a second: each is searched.
        # Not "live" in the monitor's sense, which leaves work out to keep a deadline of its own;
        # here the newest frame has been chosen already.
        self._pipeline = Pipeline(
            bundle,
            detector or WholeFrame(),
            _Shared(batcher, limits.answer_s, loop),
            Settings(detect_every=1),
            HealthMonitor(),
            time.monotonic,
            live=False,
        )

    def process(self, frame: LiveFrame) -> LiveAnswer:
        """The state after this frame. Raises InputError for what is no picture, EngineError."""
        start = time.perf_counter()
        image = decode_image(frame.data, "the frame", max_pixels=self._limits.pixels)
        decoded_ms = 1e3 * (time.perf_counter() - start)
        arrival = CapturedFrame(image, frame.number, frame.came_s, None, frame.number == 1)
        state = self._pipeline.process(arrival)
        height, width = image.shape[:2]
        return LiveAnswer(
            frame=frame.number,
            dropped=frame.dropped,
            age_ms=1e3 * (time.monotonic() - frame.came_s),
            faces=[LivePerson.of(person) for person in state.persons],
            width_px=width,
            height_px=height,
            whole_picture=self._whole,
            health=state.health.status,
            health_reasons=list(state.health.reasons),
            times=TimesResponse(
                decode_ms=decoded_ms,
                detect_ms=state.times_ms.get("detect", 0.0),
                predict_ms=state.times_ms.get("predict", 0.0),
            ),
        )


class _Shared:
    """The engine that all connections share, in place of a monitor's own."""

    def __init__(self, batcher: Batcher, answer_s: float, loop: asyncio.AbstractEventLoop) -> None:
        self._batcher, self._answer_s, self._loop = batcher, answer_s, loop

    def ready(self) -> bool:
        return True

    def predict(self, faces: Batch) -> list[Prediction]:
        """From a worker thread: its faces join the next run."""
        answer = asyncio.run_coroutine_threadsafe(self._batcher(faces), self._loop)
        try:
            return answer.result(self._answer_s)
        except TimeoutError as error:
            answer.cancel()
            raise EngineError(f"no answer within {self._answer_s:g} seconds") from error
