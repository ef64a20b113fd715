"""Recogniser: images in, faces with expressions out, in threads and batches."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

from fer_edge.analysis import detect_faces, fills_picture
from fer_edge.backends.base import Batch
from fer_edge.cores import usable_cores
from fer_edge.monitor import Detector
from fer_edge.predictor import Predictor
from fer_edge.preprocess import Box, CropRule, as_bgr, crop, decode_image, to_batch
from fer_edge.service.batcher import Batcher
from fer_edge.service.follower import Follower, LiveFrame
from fer_edge.service.limits import ServiceLimits
from fer_edge.service.metrics import Metrics
from fer_edge.service.refusals import RefusedError
from fer_edge.service.schema import FaceAnswer, LiveAnswer, PictureAnswer, TimesResponse
from fer_edge.service.workers import Workers


@dataclass(frozen=True)
class _Found:
    """An image after decoding and detection.

    Attributes:
        faces: uint8 ``[N, S, S, 3]`` BGR, one per box.
        boxes: ``(x, y, width, height)`` in pixels of the upright image.
        width_px: Width of the upright image.
        height_px: Height of the upright image.
        decode_ms: Milliseconds of decoding.
        detect_ms: Milliseconds of detection and cropping.
    """

    faces: Batch
    boxes: list[Box]
    width_px: int
    height_px: int
    decode_ms: float
    detect_ms: float


class Recogniser:
    """Classifies the faces of images with one Predictor and one detector.

    Args:
        predictor: Classifies the faces. The caller closes it.
        detector: Finds the faces. None takes each image as one face.
        limits: Limits of pending images, faces per batch, pixels and time.
        metrics: Gets counts and times.
    """

    def __init__(
        self,
        predictor: Predictor,
        detector: Detector | None,
        limits: ServiceLimits,
        metrics: Metrics,
    ) -> None:
        self._predictor = predictor
        self._detector, self._limits, self._metrics = detector, limits, metrics
        # Decoding releases the GIL. More threads would only hold more images in memory.
        self._workers = Workers(min(usable_cores(), 4), "fer-edge-images")
        self._batcher = Batcher(predictor.predict_batch, limits.batch_faces, metrics)
        self._pending = 0

    @property
    def busy(self) -> bool:
        """True while a thread works, even if no request waits."""
        return self._workers.busy or self._batcher.busy

    async def recognise(self, read: Callable[[], bytes]) -> PictureAnswer:
        """Classify all faces of one image.

        Args:
            read: Returns the encoded image; called in a worker thread.

        Raises:
            RefusedError: 503 too many images wait; 504 the answer takes too long.
            InputError: The image is unreadable.
            EngineError: The engine fails.
        """
        async with self._admitted():
            while True:
                bundle = self._predictor.bundle
                find = partial(self._find, read, bundle.crop)
                found = await self._workers.run(find, self._limits.decode_s)
                start = time.perf_counter()
                predictions = await self._batcher(found.faces)
                if self._predictor.bundle is bundle:
                    break  # else it was swapped, and the faces were cut by another rule
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
            bundle=bundle.path.name,
            bundle_sha256=bundle.sha256,
        )

    def follower(self) -> Follower:
        """Return a Follower for one live connection."""
        return Follower(
            self._predictor,
            self._detector,
            self._batcher,
            self._limits,
            asyncio.get_running_loop(),
        )

    async def follow(self, follower: Follower, frame: LiveFrame) -> LiveAnswer:
        """Return the state after a frame.

        One call at a time per follower.

        Raises the errors of ``recognise``.
        """
        async with self._admitted():
            return await self._workers.run(partial(follower.process, frame))

    @asynccontextmanager
    async def _admitted(self) -> AsyncIterator[None]:
        if self._pending >= self._limits.pending:
            raise RefusedError(
                503,
                f"{self._pending} images are waiting, and no more are accepted. Try again",
                retry_after_s=1,
            )
        self._pending += 1
        self._metrics.pending.set(self._pending)
        try:
            async with asyncio.timeout(self._limits.answer_s):
                yield
        except TimeoutError as error:
            raise RefusedError(
                504, f"no answer came within {self._limits.answer_s:g} seconds. Try again"
            ) from error
        finally:
            self._pending -= 1
            self._metrics.pending.set(self._pending)

    def _find(self, read: Callable[[], bytes], rule: CropRule) -> _Found:
        """Decode, detect and crop. Crops have the network's size, so that no image waits in memory
        for the engine."""
        start = time.perf_counter()
        image = as_bgr(decode_image(read(), "the picture", max_pixels=self._limits.pixels))
        decoded = time.perf_counter()
        height, width = image.shape[:2]
        if self._detector is None:
            boxes, crops = [(0, 0, width, height)], [image]
        else:
            boxes = [face.box for face in detect_faces(image, self._detector)]
            crops = [crop(image, box, rule.margin) for box in boxes]
            if len(boxes) == 1 and fills_picture(image, boxes[0], rule.margin):
                crops = [image]  # a face crop, as for analyze()
        faces = to_batch(crops, rule)
        found = time.perf_counter()
        return _Found(faces, boxes, width, height, 1e3 * (decoded - start), 1e3 * (found - decoded))

    def close(self) -> None:
        """End the worker threads once they have nothing to do."""
        self._workers.close()
        self._batcher.close()
