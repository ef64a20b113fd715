"""Follower of one live connection: the monitor's pipeline on a client's frames."""

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
from fer_edge.predictor import Predictor
from fer_edge.preprocess import decode_image
from fer_edge.results import Prediction
from fer_edge.service.batcher import Batcher
from fer_edge.service.limits import ServiceLimits
from fer_edge.service.schema import LiveAnswer, LivePerson, TimesResponse


@dataclass(frozen=True)
class LiveFrame:
    """One frame of a live connection.

    Attributes:
        number: Number of the frame on its connection, from 1.
        dropped: Number of earlier frames that were dropped.
        arrived_s: ``time.monotonic`` at the arrival, in seconds.
        data: The encoded image.
    """

    number: int
    dropped: int
    arrived_s: float
    data: bytes


class Follower:
    """Persons of one live connection over time.

    Args:
        predictor: Its bundle, also one that is swapped in, supplies crop rule and threshold.
        detector: Finds the faces. None takes each frame as one face.
        batcher: The engine of all connections.
        limits: Limits of pixels and time.
        loop: The event loop of the batcher.
    """

    def __init__(
        self,
        predictor: Predictor,
        detector: Detector | None,
        batcher: Batcher,
        limits: ServiceLimits,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._limits = limits
        self._whole = detector is None
        # Clients send a frame per answer, about ten per second, so detection runs on each. live is
        # False because the connection has dropped old frames already: no stage is skipped.
        self._pipeline = Pipeline(
            predictor.bundle,
            WholeFrame() if detector is None else detector,
            _Shared(predictor, batcher, limits.answer_s, loop),
            Settings(detect_every=1),
            HealthMonitor(),
            time.monotonic,
            live=False,
        )

    def process(self, frame: LiveFrame) -> LiveAnswer:
        """Return the state after a frame.

        Any worker thread may call, one at a time.

        Raises:
            InputError: The frame is not an image.
            EngineError: The engine fails or takes too long.
        """
        start = time.perf_counter()
        image = decode_image(frame.data, "the frame", max_pixels=self._limits.pixels)
        decoded_ms = 1e3 * (time.perf_counter() - start)
        arrival = CapturedFrame(image, frame.number, frame.arrived_s, None, frame.number == 1)
        state = self._pipeline.process(arrival)
        height, width = image.shape[:2]
        bundle = self._pipeline.bundle
        return LiveAnswer(
            frame=frame.number,
            dropped=frame.dropped,
            age_ms=1e3 * (time.monotonic() - frame.arrived_s),
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
            bundle=bundle.path.name,
            bundle_sha256=bundle.sha256,
        )


class _Shared:
    """Classifier that uses the engine of all connections."""

    def __init__(
        self,
        predictor: Predictor,
        batcher: Batcher,
        answer_s: float,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._predictor = predictor
        self._batcher, self._answer_s, self._loop = batcher, answer_s, loop

    @property
    def bundle(self) -> Bundle:
        return self._predictor.bundle

    def ready(self) -> bool:
        return True

    def predict(self, faces: Batch) -> list[Prediction]:
        """Classify faces in the next run of the engine. For worker threads."""
        answer = asyncio.run_coroutine_threadsafe(self._batcher(faces), self._loop)
        try:
            return answer.result(self._answer_s)
        except TimeoutError as error:
            answer.cancel()
            raise EngineError(f"no answer within {self._answer_s:g} seconds") from error
