"""Core ML, on Apple's chips: CPU, GPU and Neural Engine.

The package takes one picture at a time; a batch goes to Core ML as one request of many pictures,
which it pipelines. Not run on a Mac yet: tested against a recording in coremltools' place.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import logging
import platform
import tempfile
import threading
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fer_edge.backends.base import Batch, Options, Outputs, TargetFacts
from fer_edge.bundle import Variant
from fer_edge.errors import EngineError, MissingDependencyError

FACTS = TargetFacts(
    chips="Apple CPU, GPU and Neural Engine",
    precisions=("fp32", "fp16", "int8", "pal6", "w8a8"),
    quantised=("w8a8",),
    extra="coreml",
    libraries=("coremltools",),
    modules=("coremltools",),
)

PICTURE, LABEL, PROBABILITIES, EMBEDDING = "face", "expression", "probabilities", "embedding"
"""The package's input and outputs."""

_UNITS = {"all": "ALL", "ane": "CPU_AND_NE", "gpu": "CPU_AND_GPU", "cpu": "CPU_ONLY"}

# Where each file of a variant lies in the package.
_PLACES = {
    "manifest.json": "Manifest.json",
    "model.mlmodel": "Data/com.apple.CoreML/model.mlmodel",
    "weight.bin": "Data/com.apple.CoreML/weights/weight.bin",
}


@functools.cache
def coremltools() -> Any:
    """The library, imported without a word. Raises MissingDependencyError.

    It warns that it was not tested with this torch or scikit-learn, and, off a Mac, that Core ML is
    absent; neither matters to what is done with it here.
    """
    if importlib.util.find_spec("coremltools") is None:
        raise MissingDependencyError("coremltools", "coreml")
    logging.getLogger("coremltools").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import coremltools as library
    return library


def preflight(variant: Variant, options: Options) -> str | None:
    if platform.system() != "Darwin":
        return f"Core ML runs on macOS, this is {platform.system()}"
    needed, here = str(variant.needs.get("macos", "0")), platform.mac_ver()[0]
    if _numbers(here) < _numbers(needed):
        return f"this package needs macOS {needed} or newer, this is {here}"
    if importlib.util.find_spec("coremltools") is None:
        return str(MissingDependencyError("coremltools", "coreml"))
    if (options.device or "all") not in _UNITS:
        return f"this backend runs on device {', '.join(_UNITS)}, not {options.device!r}"
    return None


def load(variant: Variant, files: Mapping[str, bytes], options: Options) -> CoreMlSession:
    return CoreMlSession(variant.entry, files, options)


class CoreMlSession:
    """Calls take turns: Core ML wants one thread at a time in a model.

    Core ML compiles from disk: the compiled model is kept in options.cache_dir, or lies in a
    temporary folder until close.
    """

    def __init__(self, entry: str, files: Mapping[str, bytes], options: Options) -> None:
        ct = coremltools()
        self._lock = threading.Lock()
        self._temporary = tempfile.TemporaryDirectory(prefix="fer_edge-")
        try:
            model = ct.proto.Model_pb2.Model.FromString(files[entry])
            self._labels = model.description.metadata.userDefined["labels"].split(",")
            compiled = self._compiled(ct, files, options.cache_dir)
            units = ct.ComputeUnit[_UNITS[options.device or "all"]]
            self._model = ct.models.CompiledMLModel(str(compiled), units)
        except Exception as error:  # coremltools raises bare Exceptions and RuntimeErrors
            self._temporary.cleanup()
            raise EngineError(f"Core ML cannot load this package: {error}") from error

    def _compiled(self, ct: Any, files: Mapping[str, bytes], cache_dir: Path | None) -> Path:
        """The compiled model's folder; compiled now unless the cache has it."""
        folder = Path(self._temporary.name)
        if cache_dir is None:
            return _compile(ct, files, folder)
        # What Core ML compiles is good for the system that compiled it.
        digest = hashlib.sha256(platform.mac_ver()[0].encode())
        for name in sorted(files):
            digest.update(hashlib.sha256(files[name]).digest())
        kept = cache_dir / f"coreml-{digest.hexdigest()[:16]}.mlmodelc"
        if not kept.exists():
            cache_dir.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=cache_dir, suffix=".tmp") as beside:
                compiled = _compile(ct, files, Path(beside))
                try:
                    compiled.rename(kept)
                except OSError:  # another process was faster
                    if not kept.exists():
                        raise
        return kept

    def run(self, batch: Batch) -> Outputs:
        from PIL import Image

        # Pillow knows RGB only; Core ML puts the planes into the order that the package asks for.
        pictures = [
            {PICTURE: Image.fromarray(np.ascontiguousarray(face[..., ::-1]))} for face in batch
        ]
        with self._lock:
            if self._model is None:
                raise EngineError("this session was closed")
            try:
                answers = self._model.predict(pictures)
                probabilities = [[a[PROBABILITIES][name] for name in self._labels] for a in answers]
                embedding = [np.asarray(a[EMBEDDING], np.float32).reshape(-1) for a in answers]
            except Exception as error:  # as above
                raise EngineError(f"Core ML failed on a batch {batch.shape}: {error}") from error
        return np.array(probabilities, np.float32), np.stack(embedding)

    def close(self) -> None:
        with self._lock:
            self._model = None
        self._temporary.cleanup()


def _compile(ct: Any, files: Mapping[str, bytes], folder: Path) -> Path:
    """Lay the package out as Core ML knows it, in ``folder``, and compile it there."""
    package = folder / "model.mlpackage"
    for path, data in files.items():
        place = package / _PLACES[path.rpartition("/")[2]]
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
    return Path(ct.models.utils.compile_model(str(package), str(folder / "model.mlmodelc")))


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdigit())
