"""Engines that were compiled on this device, kept outside the bundle, which stays as it was signed.

An engine is native code: one is only ever loaded if its hash is the one that was written beside it,
and from a folder that nobody else can write to.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fer_edge.atomic import write_file, write_folder
from fer_edge.backends.tensorrt_compile import Compiled, Profile, system
from fer_edge.backends.tensorrt_cuda import Gpu
from fer_edge.errors import EngineError

_ENGINE, _LOG, _FACTS = "model.engine", "builder.log", "engine.json"


def default_folder() -> Path:
    """Where ``fer-edge build`` writes and every Predictor looks."""
    try:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError:  # a service's user may have no home
        base = Path("/var/cache")
    return base / "fer_edge" / "tensorrt"


def facts(trt: Any, gpu: Gpu, onnx_sha256: str, profile: Profile) -> dict[str, Any]:
    """All that an engine depends on; its folder is named by their hash."""
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
    key = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()
    return folder / key[:32]


def holds(entry: Path) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def read(entry: Path) -> bytes:
    """A cached engine, compared with its hash. Raises EngineError if it is not what was written."""
    again = "Run: fer-edge build BUNDLE"
    try:
        for path in (entry.parent, entry, entry / _ENGINE, entry / _FACTS):
            _own(path)
        wanted = json.loads((entry / _FACTS).read_text("utf-8"))["sha256"]
        engine = (entry / _ENGINE).read_bytes()
    except (OSError, ValueError, KeyError, TypeError) as error:
        unusable = f"the engine cached at {entry} is not usable: {error}. {again}"
        raise EngineError(unusable) from error
    if hashlib.sha256(engine).hexdigest() != wanted:
        raise EngineError(f"the engine cached at {entry} was changed since. {again}")
    return engine


def write(entry: Path, compiled: Compiled, about: dict[str, Any]) -> None:
    """Whole or not at all. Raises EngineError if the folder cannot be written."""

    def fill(folder: Path) -> None:
        (folder / _ENGINE).write_bytes(compiled.engine)
        (folder / _LOG).write_text(compiled.log, "utf-8")
        content = {**about, "sha256": hashlib.sha256(compiled.engine).hexdigest()}
        (folder / _FACTS).write_text(json.dumps(content, indent=1) + "\n", "utf-8")

    try:
        entry.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _own(entry.parent)
        write_folder(entry, fill)
    except OSError as error:
        raise EngineError(f"cannot write the engine cache {entry.parent}: {error}") from error


def read_timings(folder: Path, about: dict[str, Any]) -> bytes:
    """The builder's timing cache of earlier builds on this GPU; empty where there is none."""
    try:
        _own(folder)
        return _timings(folder, about).read_bytes()
    except OSError:
        return b""


def write_timings(folder: Path, about: dict[str, Any], timings: bytes) -> None:
    """Losing them costs the next build some time and nothing else, so nothing is raised."""
    if timings:
        with contextlib.suppress(OSError):
            write_file(_timings(folder, about), timings)


def _timings(folder: Path, about: dict[str, Any]) -> Path:
    shared = {k: v for k, v in about.items() if k not in ("onnx_sha256", "profile")}
    return folder / f"{place(folder, shared).name}.timings"


def _own(path: Path) -> None:
    """Raises PermissionError for a path that somebody else could have written."""
    if os.name != "posix":
        return
    found = path.stat()
    if found.st_uid not in (0, os.getuid()) or found.st_mode & stat.S_IWOTH:
        raise PermissionError(f"{path} can be written by other users")
