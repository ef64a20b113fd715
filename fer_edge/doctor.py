"""Report of the engines, libraries and model on this machine."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import Any

from fer_edge.backends.base import TargetFacts, backend, offered
from fer_edge.errors import FerEdgeError, InputError
from fer_edge.monitor.fetch_detector import check_fetched, default_path
from fer_edge.predictor import Predictor

# distribution: (purpose, extra)
_LIBRARIES = {
    "torch": ("trains and exports", "train"),
    "timm": ("provides the backbones", "train"),
    "onnx": ("carries the graph to the converters", "convert"),
    "nncf": ("quantises for OpenVINO", "convert"),
    "psutil": ("measures memory in bench", "bench"),
    "rich": ("draws progress and tables", "bench"),
    "fastapi": ("serves pictures and frames over HTTP", "serve"),
    "cryptography": ("signs and verifies bundles", "sign"),
}


def diagnose() -> dict[str, Any]:
    """Return ``parts``, what is installed and its purpose, and ``default_model``, its variants.

    Each part has ``ok`` and ``says``, a sentence that ends with the command that installs it.
    """
    parts = {target: _engine(target, facts) for target, facts in offered().items()}
    for library, (purpose, extra) in _LIBRARIES.items():
        parts[library] = _library(library, purpose, extra)
    parts["yunet"] = _yunet()
    try:
        with Predictor() as predictor:
            model = [str(choice) for choice in predictor.explain()]
    except FerEdgeError as error:
        model = [str(error)]
    return {"parts": parts, "default_model": model}


def _engine(target: str, facts: TargetFacts) -> dict[str, Any]:
    diagnosis = getattr(backend(target), "diagnose", None)
    if diagnosis is not None:
        ok, says = diagnosis()
        return {"ok": ok, "says": says}
    library = facts.libraries[0] if facts.libraries else target
    return _library(library, f"runs bundles on {facts.chips}", facts.extra)


def _library(name: str, purpose: str, extra: str | None) -> dict[str, Any]:
    try:
        return {"ok": True, "says": f"{version(name)}, {purpose}"}
    except PackageNotFoundError:
        line = f"pip install 'fer-edge[{extra}]'" if extra else "pip install fer-edge"
        return {"ok": False, "says": f"not installed; {purpose}. Run: {line}"}


def _yunet() -> dict[str, Any]:
    path = default_path()
    if path.is_file():
        try:
            check_fetched(path, path.read_bytes())
        except (InputError, OSError) as error:
            return {"ok": False, "says": str(error)}
        return {"ok": True, "says": f"{path}, finds faces for the monitor"}
    return {
        "ok": False,
        "says": "not installed; finds faces for the monitor. Run: fer-edge detector fetch",
    }
