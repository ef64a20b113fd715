"""Extras that commands need: one line installs all that a command imports."""

from __future__ import annotations

import importlib.util
import sys

from fer_edge.errors import MissingDependencyError

OF_COMMAND = {
    "data": "data",
    **dict.fromkeys(("evaluate", "embed", "adapt", "familiarize"), "evaluate"),
    **dict.fromkeys(("new", "train", "import"), "train"),
    **dict.fromkeys(("convert", "quantize", "export", "matrix", "demo"), "convert"),
    "bench": "bench",
}
"""Extra of each command that needs libraries of a workstation."""
_WORKSTATION = frozenset(OF_COMMAND.values())
_WITH_TORCH = frozenset({"evaluate", "train", "convert"})
CPU_TORCH = "pip install torch torchvision --index-url https://download.pytorch.org/whl/cpu"
"""Line that installs torch without the CUDA libraries, which PyPI's build for Linux brings."""


def for_command(error: MissingDependencyError, command: str | None) -> str:
    """Return the sentence on a missing library, with the extra of the command that ran."""
    extra = OF_COMMAND.get(command or "")
    if extra is None or error.extra not in _WORKSTATION:
        return str(error)
    sentence = str(MissingDependencyError(error.library, extra))
    if extra in _WITH_TORCH and sys.platform == "linux" and not _has_torch():
        sentence += f". Without an NVIDIA GPU, run this first: {CPU_TORCH}"
    return sentence


def _has_torch() -> bool:
    return importlib.util.find_spec("torch") is not None
