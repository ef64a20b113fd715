"""Predictor: a bundle, the best engine that this machine has for it, and answers."""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt

from fer_edge.backends.base import Options, Session, backend, targets
from fer_edge.bundle import Bundle, Variant, open_bundle
from fer_edge.errors import EngineError, InputError, TargetError
from fer_edge.preprocess import Box, Colour, Image, as_bgr, check_colour, crop, read_image, to_batch
from fer_edge.results import Prediction, Times
from fer_edge.shipped import DEFAULT_BUNDLE

FLAT_BELOW = 4.0
"""Standard deviation of the brightness (0..255) under which a crop shows no face: an unlit,
saturated or covered camera. FER2013's flattest real faces lie above 10."""

ImageSource = Image | str | Path


@dataclass(frozen=True)
class VariantChoice:
    """What became of one variant. reason is None for the one that was taken.

    warning: where its parity was not judged on the engine itself, or not at all, how it was.
    """

    target: str
    precision: str
    taken: bool
    reason: str | None
    warning: str | None = None

    def __str__(self) -> str:
        line = f"{self.target}/{self.precision}: {'taken' if self.taken else self.reason}"
        return f"{line} ({self.warning})" if self.taken and self.warning else line


class Predictor:
    """Recognises facial expressions with the best variant that runs on this machine.

    bundle: a ``NAME.fer`` folder; None means the model that ships with the package.
    target, precision: take only such variants; if none can run, that is an error, never another.
    device: the engine's name for the device (``cpu``, ``cuda``, ``cuda:1``); unless said, the one
    that each engine is for: ``cpu``, an NVIDIA GPU for TensorRT,
    all of Apple's compute units for Core ML.
    threads: CPU threads per inference; None leaves the choice to the engine (all cores).
    hint: ``latency`` (one request on all threads) or ``throughput`` (a batch over streams).
    cache_dir: a folder for compiled models, for a faster next start; None writes nothing.
    exclude: variants that shall not run, by name (``openvino/bf16``): those that failed before.

    Several threads may call one Predictor at once. ``close`` waits for nobody: calls that are
    under way then may fail with EngineError. Uses no network and writes no file (but cache_dir).

    Raises BundleError (damaged or hostile bundle), TargetError (nothing that fits can run here),
    InputError (an option that does not exist).
    """

    variant: Variant
    """The variant that runs."""

    def __init__(
        self,
        bundle: str | Path | None = None,
        target: str | None = None,
        precision: str | None = None,
        device: str | None = None,
        *,
        threads: int | None = None,
        hint: Literal["latency", "throughput"] = "latency",
        cache_dir: str | Path | None = None,
        exclude: Collection[str] = (),
    ) -> None:
        if hint not in ("latency", "throughput"):
            raise InputError(f"expected hint 'latency' or 'throughput', got {hint!r}")
        if threads is not None and threads < 1:
            raise InputError(f"expected at least 1 thread, got {threads}")
        if target is not None and target not in targets():
            raise TargetError(f"unknown target {target!r}. Known: {', '.join(targets())}")
        self._options = Options(
            device=None if device is None else device.lower(),
            threads=threads,
            hint=hint,
            cache_dir=Path(cache_dir) if cache_dir is not None else None,
        )
        self._bundle = open_bundle(DEFAULT_BUNDLE if bundle is None else bundle)
        names = [variant.name for variant in self._bundle.variants]
        if unknown := set(exclude) - set(names):
            raise InputError(
                f"expected to exclude variants among {', '.join(names)}, got "
                f"{', '.join(sorted(unknown))}"
            )
        self._exclude = frozenset(exclude)
        self._labels = self._bundle.labels
        self._session: Session | None = None
        self._choices: list[VariantChoice] = []
        self._lock = threading.Lock()
        for variant in self._bundle.variants:
            self._choices.append(self._try_variant(variant, target, precision))
        if self._session is None:
            wanted = "/".join(filter(None, (target, precision))) or "any variant"
            fits = [
                choice
                for choice in self._choices
                if target in (None, choice.target) and precision in (None, choice.precision)
            ]
            raise TargetError(
                f"expected to run {wanted} of {self._bundle.path}, but nothing that fits can run "
                "here: " + "; ".join(map(str, fits or self._choices))
            )

    def _try_variant(
        self, variant: Variant, target: str | None, precision: str | None
    ) -> VariantChoice:
        """Load a variant unless a better one was, or it does not fit; says which it was."""

        def choice(reason: str | None) -> VariantChoice:
            return VariantChoice(
                variant.target, variant.precision, reason is None, reason, variant.warning
            )

        if (target or variant.target) != variant.target:
            return choice(f"not the target asked for, {target}")
        if (precision or variant.precision) != variant.precision:
            return choice(f"not the precision asked for, {precision}")
        if variant.name in self._exclude:
            return choice("excluded by the caller")
        if variant.target not in targets():
            return choice(f"this version has no backend for {variant.target}")
        engine = backend(variant.target)
        if reason := engine.preflight(variant, self._options):
            return choice(reason)
        if self._session is not None:
            return choice(f"would run too, but {self.variant.name} comes first in the bundle")
        try:
            session = engine.load(variant, self._bundle.read(variant), self._options)
        except EngineError as error:
            return choice(f"the engine refused it: {error}")
        self._session, self.variant = session, variant
        return choice(None)

    @property
    def bundle(self) -> Bundle:
        return self._bundle

    @property
    def labels(self) -> tuple[str, ...]:
        """Canonical names, in the order of the network's outputs."""
        return self._labels

    def explain(self) -> list[VariantChoice]:
        """Each variant of the bundle, in order of preference: taken, or why not."""
        return list(self._choices)

    def __call__(
        self, image: ImageSource, box: Box | None = None, *, colour: Colour = "bgr"
    ) -> Prediction:
        """The expression of one face.

        image: a face crop, uint8 ``[H, W, 3]`` in the stated colour order or ``[H, W]`` grey; or
        an image file's path. box: ``(x, y, width, height)`` of the face where the image shows
        more than the face; it is widened to a square by the bundle's margin.
        Raises InputError for an image that cannot be used, EngineError if the engine fails.
        """
        start = time.perf_counter_ns()
        return self._predict([self._face(image, box, colour)], start)[0]

    def predict_batch(
        self, images: Iterable[ImageSource] | npt.NDArray[np.uint8], *, colour: Colour = "bgr"
    ) -> list[Prediction]:
        """One Prediction per face, in order: a list of crops and paths, or uint8 ``[N, H, W, 3]``.

        Raises InputError, naming the position, before anything is run; an empty list gives one.
        """
        start = time.perf_counter_ns()
        self._open_session()
        faces = []
        if isinstance(images, str | bytes | Path):
            raise InputError("expected a list of images, got a single one. Call predictor(image)")
        try:
            for image in images:
                faces.append(self._face(image, None, colour))
        except InputError as error:
            raise InputError(f"image {len(faces)}: {error}") from error
        except TypeError as error:
            raise InputError(f"expected a list of images or an array, got {images!r}") from error
        return self._predict(faces, start) if faces else []

    def predict_faces(
        self, image: ImageSource, boxes: Sequence[Box], *, colour: Colour = "bgr"
    ) -> list[Prediction]:
        """One Prediction per box ``(x, y, width, height)`` in one image; no boxes, no answers."""
        start = time.perf_counter_ns()
        self._open_session()
        whole = self._image(image, colour)
        faces = []
        try:
            for box in boxes:
                faces.append(crop(whole, box, self._bundle.crop.margin))
        except InputError as error:
            raise InputError(f"box {len(faces)}: {error}") from error
        except TypeError as error:
            raise InputError(f"expected boxes (x, y, width, height), got {boxes!r}") from error
        return self._predict(faces, start) if faces else []

    def warm_up(self, batch_sizes: Sequence[int] = (1,)) -> None:
        """Run each batch size twice on grey noise, so that the first real face finds all ready.

        OpenVINO compiles a second graph for the first batch that is not of one face: 0.1 s for
        the default model, 2 s for EfficientNetV2-S. Name a size above 1 if such batches will come.
        """
        size = self._bundle.crop.size_px
        for count in batch_sizes:
            noise = np.random.default_rng(0).integers(0, 256, (count, size, size, 3), np.uint8)
            for _ in range(2):
                self._run(noise)

    def close(self) -> None:
        """Give the engine's memory back. Further calls raise EngineError; closing twice is fine."""
        with self._lock:
            session, self._session = self._session, None
        if session is not None:
            session.close()

    def __enter__(self) -> Predictor:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _image(self, image: ImageSource, colour: Colour) -> Image:
        if isinstance(image, str | Path):
            check_colour(colour)
            return as_bgr(read_image(image))
        return as_bgr(image, colour)

    def _face(self, image: ImageSource, box: Box | None, colour: Colour) -> Image:
        face = self._image(image, colour)
        return face if box is None else crop(face, box, self._bundle.crop.margin)

    def _run(
        self, batch: npt.NDArray[np.uint8]
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        return self._open_session().run(batch)

    def _open_session(self) -> Session:
        session = self._session
        if session is None:
            raise EngineError("this Predictor was closed. Make a new one")
        return session

    def _predict(self, faces: list[Image], start_ns: int) -> list[Prediction]:
        batch = to_batch(faces, self._bundle.crop)
        prepared = time.perf_counter_ns()
        probabilities, embeddings = self._run(batch)
        inferred = time.perf_counter_ns()
        if probabilities.shape != (len(faces), len(self._labels)):
            raise EngineError(
                f"expected probabilities of shape {(len(faces), len(self._labels))}, "
                f"the engine gave {probabilities.shape}"
            )
        tops = probabilities.argmax(1).tolist()
        rows = probabilities.tolist()
        verdicts = [
            self._doubt(face, row[top]) for face, row, top in zip(batch, rows, tops, strict=True)
        ]
        times = Times(
            (prepared - start_ns) / 1e6,
            (inferred - prepared) / 1e6,
            (time.perf_counter_ns() - inferred) / 1e6,
        )
        return [
            Prediction(
                label=self._labels[top],
                confidence=row[top],
                probabilities=dict(zip(self._labels, row, strict=True)),
                embedding=embedding,
                uncertain=reason is not None,
                reason=reason,
                times=times,
            )
            for top, row, embedding, reason in zip(tops, rows, embeddings, verdicts, strict=True)
        ]

    def _doubt(self, face: npt.NDArray[np.uint8], confidence: float) -> str | None:
        """Why an answer should not be acted on, or None."""
        if not 0.0 <= confidence <= 1.001:  # also catches NaN
            raise EngineError("the engine gave probabilities that are not numbers")
        # Every fourth row tells as much, and a batch waits for this.
        if max(cv2.meanStdDev(face[::4])[1].ravel().tolist()) < FLAT_BELOW:
            return "no contrast: the picture is dark, saturated or covered"
        # The network's own float32: a threshold that a face set exactly must not withhold it.
        if confidence < self._bundle.abstain_below - 1e-6:
            return (
                f"the model is unsure: confidence {confidence:.2f} "
                f"is below {self._bundle.abstain_below:.2f}"
            )
        return None
