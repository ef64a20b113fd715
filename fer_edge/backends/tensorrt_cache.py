"""Cache of engines that were compiled on this device.

The cache is outside the bundle, so that a signed bundle stays unchanged. An engine is native code:
it is loaded only if its hash matches the one beside it, and only from a folder that no other user
can write to.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fer_edge.atomic import write_file, write_folder
from fer_edge.backends.private_path import check_owner
from fer_edge.backends.tensorrt_compile import Compiled, Profile, system
from fer_edge.backends.tensorrt_cuda import Gpu
from fer_edge.cache_folder import cache_folder
from fer_edge.errors import EngineError

_ENGINE, _LOG, _FACTS = "model.engine", "builder.log", "engine.json"


def default_folder() -> Path:
    """Return the folder where ``fer-edge build`` writes and every Predictor looks."""
    return cache_folder() / "fer_edge" / "tensorrt"


def facts(trt: Any, gpu: Gpu, onnx_sha256: str, profile: Profile) -> dict[str, Any]:
    """Return the facts that an engine depends on.

    Their hash names the engine's folder.
    """
    return {
        "library": trt.__name__,
        "version": trt.__version__,
        "gpu": gpu.name,
        "capability": gpu.capability,
        "driver": gpu.driver,
        "onnx_sha256": onnx_sha256,
        "profile": asdict(profile),
        **system(),
    }


def place(folder: Path, about: dict[str, Any]) -> Path:
    """Return the folder of the engine with these facts."""
    key = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()
    return folder / key[:32]


def holds(entry: Path) -> bool:
    """Report whether the cache has this entry."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def read(entry: Path) -> bytes:
    """Read an engine and compare it with its hash.

    Raises EngineError if it was changed.
    """
    again = "Run: fer-edge build BUNDLE"
    try:
        for path in (entry.parent, entry, entry / _ENGINE, entry / _FACTS):
            check_owner(path)
        sha256 = json.loads((entry / _FACTS).read_text("utf-8"))["sha256"]
        engine = (entry / _ENGINE).read_bytes()
    except (OSError, ValueError, KeyError, TypeError) as error:
        unusable = f"the engine cached at {entry} is not usable: {error}. {again}"
        raise EngineError(unusable) from error
    if hashlib.sha256(engine).hexdigest() != sha256:
        raise EngineError(f"the engine cached at {entry} was changed after it was written. {again}")
    return engine


def write(entry: Path, compiled: Compiled, about: dict[str, Any]) -> None:
    """Write an engine atomically. Raises EngineError if the folder cannot be written."""

    def fill(folder: Path) -> None:
        (folder / _ENGINE).write_bytes(compiled.engine)
        (folder / _LOG).write_text(compiled.log, "utf-8")
        content = {**about, "sha256": hashlib.sha256(compiled.engine).hexdigest()}
        (folder / _FACTS).write_text(json.dumps(content, indent=1) + "\n", "utf-8")

    try:
        entry.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        check_owner(entry.parent)
        write_folder(entry, fill)
    except OSError as error:
        raise EngineError(
            f"cannot write the engine cache {entry.parent}: {error}. "
            "Choose another folder with --cache-dir"
        ) from error


def read_timings(folder: Path, about: dict[str, Any]) -> bytes:
    """Return the builder's timing cache for this GPU.

    It comes from earlier builds, and is empty without one.
    """
    try:
        check_owner(folder)
        return _timings(folder, about).read_bytes()
    except OSError:
        return b""


def write_timings(folder: Path, about: dict[str, Any], timings: bytes) -> None:
    """Write the timing cache; ignore errors.

    Without the cache, the next build is only slower.
    """
    if timings:
        with contextlib.suppress(OSError):
            write_file(_timings(folder, about), timings)


def _timings(folder: Path, about: dict[str, Any]) -> Path:
    shared = {k: v for k, v in about.items() if k not in ("onnx_sha256", "profile")}
    return folder / f"{place(folder, shared).name}.timings"
