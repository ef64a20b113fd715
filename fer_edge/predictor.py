"""Predictor: expressions from a bundle on this machine's best engine."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from fer_edge.bundle import Bundle, Variant, open_bundle
from fer_edge.errors import BundleError, EngineError, InputError, TargetError
from fer_edge.explanation import all_choices, all_executions
from fer_edge.inference import in_parts, load_warm, predict, prepared, warm_up
from fer_edge.loaded import (
    Loaded,
    Request,
    VariantChoice,
    check_same_labels,
    checked_exclude,
    checked_options,
    load_best,
)
from fer_edge.one_at_a_time import own_lock
from fer_edge.paths import absolute
from fer_edge.preprocess import Box, Colour, Image, ImageSource, any_image, crop
from fer_edge.results import Prediction
from fer_edge.shadow import Shadow, ShadowCounts, check_margin
from fer_edge.shipped import bundle_path, named
from fer_edge.signing import Key, load_keys

_log = logging.getLogger("fer_edge")
_Keys: TypeAlias = "tuple[bytes, ...] | None"


class Predictor:
    """Recognises facial expressions with the best variant that this machine can run.

    Several threads may call one Predictor at once. It can be pickled: the copy loads the bundle
    again. In a forked child, where the parent's engine cannot run, the next variant that can takes
    over; if ``target`` forbids that, calls raise EngineError.

    It uses no network, and writes no file except to ``cache_dir`` and to temporary folders that it
    removes. Core ML compiles in one if there is no ``cache_dir``. Engines write their traces to
    one for ``explain(executed=True)``, and for a variant that Qualcomm's HTP refuses.

    Args:
        bundle: A ``NAME.fer`` folder; None or ``"default"`` is the model in the package.
        target: Run only this target. If it cannot run, that is an error, never another target.
        precision: Run only this precision.
        device: The engine's name for the device (``cpu``, ``cuda``, ``cuda:1``). None is the
            device that each engine is made for: the CPU; an NVIDIA GPU for TensorRT; all of
            Apple's compute units for Core ML.
        threads: CPU threads per inference; None: all that may be used.
        hint: ``latency`` runs one request on all threads, ``throughput`` splits a batch.
        cache_dir: Folder for compiled models, for a faster next start; None writes nothing. A
            folder that cannot be written is not used by OpenVINO.
        exclude: Names of variants of this bundle to leave out (``openvino/bf16``). A bundle that is
            swapped in may lack them.
        trusted_keys: Public keys, PEM files or bytes, for every bundle; None needs no signature.

    Raises:
        BundleError: The bundle is damaged or hostile, or not signed by a trusted key.
        TargetError: No variant that fits can run on this machine.
        InputError: An option does not exist.
    """

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
        trusted_keys: Sequence[Key] | None = None,
    ) -> None:
        options = checked_options(target, precision, device, threads, hint, cache_dir)
        keys = None if trusted_keys is None else load_keys(trusted_keys)
        content = _opened(bundle, keys)
        request = Request(target, precision, checked_exclude(exclude, content), options)
        self._start(bundle, content, request, keys)

    def _start(
        self, bundle: str | Path | None, content: Bundle, request: Request, keys: _Keys
    ) -> None:
        self._path = None if bundle is None else content.path
        self._request, self._trusted_keys = request, keys
        self._lock = own_lock(self)  # a signal handler may call close() in any line
        self._closed = False
        self._shadow: Shadow | None = None
        self._loaded = load_best(content, request)

    @classmethod
    def _again(cls, bundle: str | Path | None, request: Request, keys: _Keys) -> Predictor:
        """Load a bundle for an earlier request, whose excluded variants it may lack."""
        made = cls.__new__(cls)
        made._start(bundle, _opened(bundle, keys), request, keys)
        return made

    def __reduce__(self) -> tuple[Any, ...]:
        return Predictor._again, (self._path, self._request, self._trusted_keys)

    @property
    def bundle(self) -> Bundle:
        """The bundle that runs."""
        return self._loaded.bundle

    @property
    def variant(self) -> Variant:
        """The variant that runs."""
        return self._loaded.variant

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the network's outputs."""
        return self.bundle.labels

    def explain(self, *, executed: bool = False) -> list[VariantChoice]:
        """Return the decision about each variant, in the bundle's order of preference.

        Args:
            executed: Also report, for each variant that can run, the engine's build, the device,
                and how many operations run where in which precision. Each is loaded once more,
                so this is for a diagnosis, not for a start.
        """
        return (all_executions if executed else all_choices)(self._loaded, self._request)

    def __call__(
        self, image: ImageSource, box: Box | None = None, *, colour: Colour = "bgr"
    ) -> Prediction:
        """Recognise the expression of one face.

        Args:
            image: A face crop, uint8 ``[H, W, 3]`` in the stated colour order or ``[H, W]`` grey,
                or an image file's path.
            box: ``(x, y, width, height)`` of the face in pixels, if the image shows more than the
                face. The box is widened to a square by the bundle's margin.
            colour: Colour order of an array: ``bgr``, ``rgb`` or ``grey``.

        Returns:
            Label, probabilities, embedding, and whether and why to abstain.

        Raises:
            InputError: The image or the box cannot be used.
            EngineError: The engine fails, or the Predictor was closed.
        """
        start = time.perf_counter_ns()
        with self._enter() as loaded:
            face = any_image(image, colour)
            if box is not None:
                face = crop(face, box, loaded.bundle.crop.margin)
            return self._answer(loaded, [face], start)[0]

    def predict_batch(
        self, images: Iterable[ImageSource] | npt.NDArray[np.uint8], *, colour: Colour = "bgr"
    ) -> list[Prediction]:
        """Recognise the expressions of many face crops in one call.

        Args:
            images: Crops and paths, as for a single call, or uint8 ``[N, H, W, 3]``.
            colour: Colour order of the arrays.

        Returns:
            One Prediction per image, in order. An empty list returns [].

        Raises:
            InputError: An image cannot be used. The message has its index; nothing was run.
            EngineError: The engine fails, or the Predictor was closed.
        """
        start = time.perf_counter_ns()
        with self._enter() as loaded:
            if isinstance(images, str | bytes | Path):
                raise InputError(
                    "expected a list of images, got a single one. Call predictor(image)"
                )
            expected = "a list of images or an array"
            faces = list(prepared("image", images, expected, lambda i: any_image(i, colour)))
            return self._answer(loaded, faces, start) if faces else []

    def predict_faces(
        self, image: ImageSource, boxes: Sequence[Box], *, colour: Colour = "bgr"
    ) -> list[Prediction]:
        """Recognise the expressions of several faces in one image, in parts of bounded memory.

        Args:
            image: uint8 ``[H, W, 3]`` or ``[H, W]``, or an image file's path.
            boxes: ``(x, y, width, height)`` of each face in pixels.
            colour: Colour order of an array.

        Returns:
            One Prediction per box, in order. No boxes return [].

        Raises:
            InputError: The image or a box cannot be used. The message has the box's index.
            EngineError: The engine fails, or the Predictor was closed.
        """
        start = time.perf_counter_ns()
        with self._enter() as loaded:
            picture = any_image(image, colour)
            margin = loaded.bundle.crop.margin
            faces = prepared(
                "box", boxes, "boxes (x, y, width, height)", lambda b: crop(picture, b, margin)
            )
            answers = []
            for part in in_parts(faces):
                answers += self._answer(loaded, part, start)
                start = time.perf_counter_ns()
            return answers

    def warm_up(self, batch_sizes: Sequence[int] = (1,)) -> None:
        """Run each batch size twice on random noise, so that no face waits for compilation.

        OpenVINO compiles a second graph for the first batch that is not of one face. That takes
        0.1 s for the default model and 2 s for EfficientNetV2-S.

        Args:
            batch_sizes: Numbers of faces that calls will have.
        """
        with self._enter() as loaded:
            warm_up(loaded, batch_sizes)

    def swap(self, bundle: str | Path) -> None:
        """Replace the running bundle by another one, without a pause.

        The new bundle is verified, loaded and warmed up while the old one answers. Calls that are
        under way end on the old one. If anything fails, the old one stays.

        Args:
            bundle: A ``NAME.fer`` folder with the same labels in the same order.

        Raises:
            BundleError: The bundle is damaged, or has other labels, or another crop margin than
                a running shadow.
            InputError: ``bundle`` is no path or name.
            TargetError: No variant that fits can run on this machine.
            EngineError: The new variant fails in its warm-up, or the Predictor was closed.
        """
        with self._another(bundle, lambda: self._shadow) as loaded:
            before, self._loaded = self._loaded, loaded
            self._path = loaded.bundle.path
        before.retire()
        _log.info("%s replaces %s", loaded.bundle.path, before.bundle.path)

    def trust(self, trusted_keys: Sequence[Key]) -> None:
        """Accept only bundles that one of these keys signed, from now on.

        The running bundle is verified at once; later every bundle that is swapped in or loaded
        again.

        Args:
            trusted_keys: Public keys, PEM files or bytes. They replace earlier ones.

        Raises:
            BundleError: The running bundle is not signed by a trusted key, or was replaced on disk.
            InputError: A key is no Ed25519 public key, or there is none.
        """
        keys, running = load_keys(trusted_keys), self.bundle
        if open_bundle(running.path, keys).sha256 != running.sha256:
            raise BundleError(f"{running.path} is no longer the bundle that runs. Swap it in")
        with self._lock:
            if self.bundle is not running:
                raise BundleError(f"{running.path} was swapped out meanwhile. Call trust() again")
            self._trusted_keys = keys

    def start_shadow(self, bundle: str | Path) -> None:
        """Show the same faces to another bundle, which only counts disagreements.

        Each call takes the time of both bundles until ``stop_shadow``.

        Args:
            bundle: A ``NAME.fer`` folder with the same labels in the same order and the same crop
                margin. Both bundles see the faces that the running one has cut.

        Raises:
            BundleError: The bundle is damaged, or has other labels or another margin.
            InputError: ``bundle`` is no path or name.
            TargetError: No variant that fits can run on this machine.
            EngineError: The variant fails in its warm-up, or the Predictor was closed.
        """
        with self._another(bundle, lambda: self._loaded.bundle) as loaded:
            before, self._shadow = self._shadow, Shadow(loaded)
        if before is not None:
            before.close()

    def stop_shadow(self) -> ShadowCounts | None:
        """End shadow mode and return the final counts; None if there was no shadow."""
        with self._lock:
            shadow, self._shadow = self._shadow, None
        if shadow is None:
            return None
        shadow.close()
        return shadow.counts

    @property
    def shadow(self) -> ShadowCounts | None:
        """Counts of the shadow bundle so far; None without one."""
        shadow = self._shadow
        return None if shadow is None else shadow.counts

    def close(self) -> None:
        """Release the engine; further calls raise EngineError.

        The memory is released once the running calls have ended. close() does not wait for them.
        """
        with self._lock:
            self._closed = True
            loaded = self._loaded
        self.stop_shadow()
        loaded.retire()

    def __enter__(self) -> Predictor:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _enter(self) -> Loaded:
        """Return what runs now, for a ``with`` statement. Raises EngineError."""
        while not self._closed:
            if not self._loaded.usable:
                self._reload()
            loaded = self._loaded
            if loaded.enter():  # else it was swapped out a moment ago
                return loaded
        raise _closed()

    @contextmanager
    def _another(
        self, bundle: str | Path, beside: Callable[[], Bundle | Shadow | None]
    ) -> Iterator[Loaded]:
        """Load a bundle beside the running one, and yield it under the lock.

        ``beside`` returns what must cut faces alike. Another thread may change that, or the keys,
        while the bundle loads. Raises FerEdgeError.
        """
        keys = self._trusted_keys
        content = _opened(named(bundle), keys)
        with self._enter() as running:
            check_same_labels(running.bundle, content)
            check_margin(beside(), content)
        loaded = load_warm(content, self._request)
        try:
            with self._lock:
                if self._closed:
                    raise _closed()
                if self._trusted_keys is not keys:
                    raise BundleError(f"the trusted keys changed. Swap {content.path} in again")
                check_margin(beside(), content)
                yield loaded
        except BaseException:
            loaded.retire()
            raise

    def _answer(self, loaded: Loaded, faces: list[Image], start_ns: int) -> list[Prediction]:
        answers = predict(loaded, faces, start_ns)
        shadow = self._shadow
        if shadow is not None:
            shadow.see(loaded.bundle, faces, answers)
        return answers

    def _reload(self) -> None:
        """Load another variant in a forked child. Raises EngineError."""
        lost = self._loaded
        try:
            loaded = load_best(lost.bundle, self._request)
        except TargetError as error:
            raise EngineError(
                f"{lost.variant.name} was loaded before this process was forked, and cannot run "
                "in it. Make the Predictor in the child, or start children with spawn "
                f"(multiprocessing.set_start_method('spawn')). {error}"
            ) from error
        with self._lock:
            if self._loaded is not lost:  # another thread was faster
                loaded.retire()
                return
            self._loaded = loaded
        lost_name, name = lost.variant.name, loaded.variant.name
        _log.warning("%s cannot run in a forked process; %s answers instead", lost_name, name)


def _opened(bundle: str | Path | None, keys: _Keys) -> Bundle:
    """Open a bundle whose path stays true in another current folder. Raises FerEdgeError."""
    content = open_bundle(bundle_path(bundle), keys)
    return replace(content, path=absolute(content.path))


def _closed() -> EngineError:
    return EngineError("this Predictor was closed. Make a new one")
