"""Core ML on Apple's CPU, GPU and Neural Engine.

The package takes one picture. A batch is one request with many pictures, which Core ML pipelines.
Not run on a Mac yet: tested with a replacement of coremltools.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import json
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
"""Names of the package's input and outputs."""

_UNITS = {"all": "ALL", "ane": "CPU_AND_NE", "gpu": "CPU_AND_GPU", "cpu": "CPU_ONLY"}

# Path of each file in the package, by its name in the bundle.
_PLACES = {
    "manifest.json": "Manifest.json",
    "model.mlmodel": "Data/com.apple.CoreML/model.mlmodel",
    "weight.bin": "Data/com.apple.CoreML/weights/weight.bin",
}


@functools.cache
def coremltools() -> Any:
    """Import coremltools without its warnings. Raises MissingDependencyError.

    It warns of untested releases of torch and scikit-learn, and off a Mac of a missing Core ML.
    Neither affects conversion or loading.
    """
    if importlib.util.find_spec("coremltools") is None:
        raise MissingDependencyError("coremltools", "coreml")
    logging.getLogger("coremltools").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import coremltools as library
    return library


def label_names(text: str) -> list[str]:
    """Read the labels of a package's metadata: a list in JSON, or names with commas between."""
    try:
        names = json.loads(text)
    except ValueError:
        names = None
    return names if isinstance(names, list) else text.split(",")


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
    """Session of Core ML; calls take turns.

    A model admits one thread at a time.

    Core ML compiles from disk. The compiled model is in ``options.cache_dir``, or in a temporary
    folder until ``close``.
    """

    def __init__(self, entry: str, files: Mapping[str, bytes], options: Options) -> None:
        ct = coremltools()
        self._lock = threading.Lock()
        self._temporary = tempfile.TemporaryDirectory(prefix="fer_edge-")
        try:
            model = ct.proto.Model_pb2.Model.FromString(files[entry])
            self._labels = label_names(model.description.metadata.userDefined["labels"])
            compiled = self._compiled(ct, files, options.cache_dir)
            units = ct.ComputeUnit[_UNITS[options.device or "all"]]
            self._model = ct.models.CompiledMLModel(str(compiled), units)
        except Exception as error:  # coremltools raises bare Exceptions and RuntimeErrors
            self._temporary.cleanup()
            raise EngineError(f"Core ML cannot load this package: {error}") from error

    def _compiled(self, ct: Any, files: Mapping[str, bytes], cache_dir: Path | None) -> Path:
        """Return the folder of the compiled model; compile it unless the cache has it."""
        folder = Path(self._temporary.name)
        if cache_dir is None:
            return _compile(ct, files, folder)
        # A compiled model is valid for the macOS release that compiled it.
        digest = hashlib.sha256(platform.mac_ver()[0].encode())
        for name in sorted(files):
            digest.update(hashlib.sha256(files[name]).digest())
        cached = cache_dir / f"coreml-{digest.hexdigest()[:16]}.mlmodelc"
        if not cached.exists():
            cache_dir.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=cache_dir, suffix=".tmp") as beside:
                compiled = _compile(ct, files, Path(beside))
                try:
                    compiled.rename(cached)
                except OSError:  # another process was faster
                    if not cached.exists():
                        raise
        return cached

    def run(self, batch: Batch) -> Outputs:
        from PIL import Image

        # Pillow has RGB only; Core ML reorders the planes as the package requires.
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
            except Exception as error:  # the same classes
                raise EngineError(f"Core ML failed on a batch {batch.shape}: {error}") from error
        return np.array(probabilities, np.float32), np.stack(embedding)

    def close(self) -> None:
        with self._lock:
            self._model = None
        self._temporary.cleanup()


def _compile(ct: Any, files: Mapping[str, bytes], folder: Path) -> Path:
    """Write the package into ``folder``, compile it there, and return the compiled folder."""
    package = folder / "model.mlpackage"
    for path, data in files.items():
        place = package / _PLACES[path.rpartition("/")[2]]
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
    return Path(ct.models.utils.compile_model(str(package), str(folder / "model.mlmodelc")))


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdigit())
