"""What a converter is given and what it gives back.

A converter is a module ``converters/TARGET.py`` with

``PRECISIONS: tuple[str, ...]``
    The precisions it can build, the most accurate first.
``build(graph, precision, calibration) -> Artifact``
    The files of one variant. Raises ConversionError.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

import numpy as np
import numpy.typing as npt

from fer_edge.errors import TargetError

_NOT_TARGETS = {"base", "convert", "export", "faces", "parity", "speed"}


@dataclass(frozen=True)
class Artifact:
    """The files of one variant, by ``folder/name``; fields as in fer_edge.bundle.Variant."""

    entry: str
    files: Mapping[str, bytes]
    tools: Mapping[str, str]
    needs: Mapping[str, Any] = field(default_factory=dict)
    batch: Mapping[str, int | None] = field(default_factory=lambda: {"min": 1, "max": None})


class Converter(Protocol):
    PRECISIONS: tuple[str, ...]

    def build(self, graph: bytes, precision: str, calibration: npt.NDArray[np.uint8]) -> Artifact:
        """graph: the exported ONNX. calibration: uint8 ``[N, S, S, 3]`` BGR faces."""
        ...


def targets() -> tuple[str, ...]:
    """Names of the targets that this version can convert to."""
    package = importlib.import_module("fer_edge.converters")
    found = (module.name for module in pkgutil.iter_modules(package.__path__))
    return tuple(sorted(set(found) - _NOT_TARGETS))


def converter(target: str) -> Converter:
    """The converter module for a target. Raises TargetError for one that does not exist."""
    if target not in targets():
        raise TargetError(f"unknown target {target!r}. Known: {', '.join(targets())}")
    return cast(Converter, importlib.import_module(f"fer_edge.converters.{target}"))
