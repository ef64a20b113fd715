"""Imports of engines without their telemetry or a home folder."""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.util
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fer_edge.libraries import broken
from fer_edge.one_at_a_time import one_at_a_time

_SETTINGS = {
    "onnxruntime": {"ORT_DISABLE_TELEMETRY": "1"},
    "openvino": {"CI": "true"},
    "nncf": {"CI": "true"},
}
"""Environment during the import of a package, by its name.

ONNX Runtime 1.31 starts Microsoft's telemetry as it is imported: it writes ``.ses`` into TMPDIR and
looks up a host. openvino-telemetry writes a client id into the home folder and reports events. It
does neither in a CI job. Both look once, at import."""


@one_at_a_time  # it changes the environment
def import_without_telemetry(name: str) -> Any:
    """Import a module of ``onnxruntime``, ``openvino`` or ``nncf`` without its telemetry.

    An application that imports one of these packages itself, before it makes a Predictor, decides
    about telemetry itself: ``ORT_DISABLE_TELEMETRY=1`` turns off ONNX Runtime's.

    Args:
        name: Module to import, such as ``onnxruntime.quantization``.
    """
    if name in sys.modules:
        return importlib.import_module(name)  # waits if a thread of the application imports it
    settings = dict(_SETTINGS.get(name.split(".")[0], {}))
    if not _has_home():
        settings["HOME"] = os.sep  # openvino-telemetry asks for one, and does not use it in CI
    with _environment(settings):
        return importlib.import_module(name)


def engine_problem(name: str, extra: str | None) -> str | None:
    """Return why an engine's package cannot be imported, or None.

    Args:
        name: Top-level module of the package.
        extra: Extra that installs it; None if a plain install has it.
    """
    if importlib.util.find_spec(name) is None:
        package = f"'fer-edge[{extra}]'" if extra else "fer-edge"
        return f"{name} is not installed. Run: pip install {package}"
    return _import_problem(name)


@functools.cache
def _import_problem(name: str) -> str | None:
    try:
        import_without_telemetry(name)
    except Exception as error:  # a missing shared library, another ABI, a broken file
        return broken(name, error)
    return None


def _has_home() -> bool:
    try:
        Path.home()
    except RuntimeError:  # no HOME, and no passwd entry
        return False
    return True


@contextlib.contextmanager
def _environment(settings: dict[str, str]) -> Iterator[None]:
    before = {key: os.environ.get(key) for key in settings}
    os.environ.update(settings)
    try:
        yield
    finally:
        for key, value in before.items():
            if value is None:
                os.environ.pop(key, None)
            else:
                os.environ[key] = value
