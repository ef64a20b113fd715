"""Pictures in, faces with their expressions out; bounded, in worker threads, in batches."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from fer_edge.backends.base import Batch
from fer_edge.machine import usable_cores
from fer_edge.monitor import Detector
from fer_edge.predictor import Predictor
from fer_edge.preprocess import Box, as_bgr, crop, decode_image, to_batch
from fer_edge.service.batcher import Batcher
from fer_edge.service.follower import Follower, LiveFrame
from fer_edge.service.limits import ServiceLimits
from fer_edge.service.metrics import Metrics
from fer_edge.service.refusals import RefusedError
from fer_edge.service.schema import FaceAnswer, LiveAnswer, PictureAnswer, TimesResponse

Result = TypeVar("Result")


@dataclass(frozen=True)
class _Found:
    """A picture after decoding and detection. faces: uint8 ``[N, S, S, 3]`` BGR, one per box."""

    faces: Batch
    boxes: list[Box]
    width_px: int
    height_px: int
    decode_ms: float
    detect_ms: float


class Recogniser:
    """Answers pictures with one Predictor and, if there is one, one detector.

    Without a detector the whole picture is one face crop.
    """

    def __init__(
        self,
        predictor: Predictor,
        detector: Detector | None,
        limits: ServiceLimits,
        metrics: Metrics,
    ) -> None:
        self._bundle = predictor.bundle
        self._detector, self._limits, self._metrics = detector, limits, metrics
        # Decoding leaves Python's lock; more threads than that would only hold more pictures.
        self._workers = ThreadPoolExecutor(min(usable_cores(), 4), "fer-edge-pictures")
        self._batcher = Batcher(predictor.predict_batch, limits.batch_faces, metrics)
        self._pending = 0

    async def recognise(self, read: Callable[[], bytes]) -> PictureAnswer:
        """All faces of the encoded picture that ``read`` gives; it is called in a worker thread.

        Raises RefusedError (503 too many wait, 504 took too long), InputError, EngineError.
        """
        async with self._admitted():
            found = await self._in_worker(partial(self._find, read))
            start = time.perf_counter()
            predictions = await self._batcher(found.faces)
        return PictureAnswer(
            faces=[FaceAnswer.of(*pair) for pair in zip(predictions, found.boxes, strict=True)],
            width_px=found.width_px,
            height_px=found.height_px,
            whole_picture=self._detector is None,
            times=TimesResponse(
                decode_ms=found.decode_ms,
                detect_ms=found.detect_ms,
                predict_ms=1e3 * (time.perf_counter() - start),
            ),
        )

    def follower(self) -> Follower:
        """For one live connection."""
        return Follower(
            self._bundle, self._detector, self._batcher, self._limits, asyncio.get_running_loop()
        )

    async def follow(self, follower: Follower, frame: LiveFrame) -> LiveAnswer:
        """The state after a frame; raises what ``recognise`` raises. One at a time per follower."""
        async with self._admitted():
            return await self._in_worker(partial(follower.process, frame))

    @asynccontextmanager
    async def _admitted(self) -> AsyncIterator[None]:
        if self._pending >= self._limits.pending:
            raise RefusedError(
                503,
                f"{self._pending} pictures wait already, and no more may. Try again",
                retry_after_s=1,
            )
        self._pending += 1
        self._metrics.pending.set(self._pending)
        try:
            async with asyncio.timeout(self._limits.answer_s):
                yield
        except TimeoutError as error:
            raise RefusedError(
                504, f"there was no answer within {self._limits.answer_s:g} seconds"
            ) from error
        finally:
            self._pending -= 1
            self._metrics.pending.set(self._pending)

    async def _in_worker(self, job: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._workers, job)

    def _find(self, read: Callable[[], bytes]) -> _Found:
        """Crops are made as small as the network's input here, so that no picture waits in memory
        for the engine."""
        start = time.perf_counter()
        image = as_bgr(decode_image(read(), "the picture", max_pixels=self._limits.pixels))
        decoded = time.perf_counter()
        rule = self._bundle.crop
        height, width = image.shape[:2]
        if self._detector is None:
            boxes, crops = [(0, 0, width, height)], [image]
        else:
            boxes = [face.box for face in self._detector.detect(image)]
            crops = [crop(image, box, rule.margin) for box in boxes]
        faces = to_batch(crops, rule)
        found = time.perf_counter()
        return _Found(faces, boxes, width, height, 1e3 * (decoded - start), 1e3 * (found - decoded))

    def close(self) -> None:
        self._workers.shutdown(wait=False, cancel_futures=True)
        self._batcher.close()
