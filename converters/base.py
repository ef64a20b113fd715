"""What a converter is given and what it gives back.

A converter is a module ``converters/TARGET.py`` with

``PRECISIONS: tuple[str, ...]``
    The precisions it can build, the most accurate first.
``build(source, precision, recipe) -> Artifact``
    The files of one variant. Raises ConversionError, and MissingDependencyError without its tools.
``recipes(source, precision) -> Sequence[QuantizationRecipe]``
    Ways to build a precision, the usual one first, where there are several: the one that keeps the
    network's answers best is searched for, each on top of the best before it (recipe_search).
    Empty where there is one way.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

import numpy as np
import numpy.typing as npt

from fer_edge.backends.base import Session
from fer_edge.errors import TargetError
from fer_edge.training.checkpoint import Checkpoint

QuantizationRecipe = Mapping[str, Any]
"""Settings of one way to quantise: plain values, so that they can be recorded."""


@dataclass(frozen=True)
class ConversionInput:
    """What every variant of a bundle is built from.

    graph: the checkpoint's deploy graph as ONNX. calibration: uint8 ``[N, S, S, 3]`` BGR faces.
    batch_sizes: those that will be asked for, the most usual first: engines with fixed shapes are
    built for them, engines with a range for all between the smallest and the largest.
    gpus: compute capabilities (``sm_86``) to compile for ahead of time. workspace_mib: GPU memory
    that one layer may use; None is all there is.
    """

    checkpoint: Checkpoint
    graph: bytes
    calibration: npt.NDArray[np.uint8]
    batch_sizes: tuple[int, ...] = (1,)
    gpus: tuple[str, ...] = ()
    workspace_mib: int | None = None


@dataclass(frozen=True)
class Artifact:
    """The files of one variant, by ``folder/name``; fields as in fer_edge.bundle.Variant.

    reference_session: makes a session that computes the same files on machines where their engine
    cannot run; it verifies the variant in the engine's place. None if only the engine can run them.
    verified_by: name of the reference session, for the record.
    """

    entry: str
    files: Mapping[str, bytes]
    tools: Mapping[str, str]
    needs: Mapping[str, Any] = field(default_factory=dict)
    batch: Mapping[str, int | None] = field(default_factory=lambda: {"min": 1, "max": None})
    reference_session: Callable[[], Session] | None = None
    verified_by: str = "reference_session"


class Converter(Protocol):
    PRECISIONS: tuple[str, ...]

    def build(
        self, source: ConversionInput, precision: str, recipe: QuantizationRecipe
    ) -> Artifact: ...

    def recipes(self, source: ConversionInput, precision: str) -> Sequence[QuantizationRecipe]: ...


def targets() -> tuple[str, ...]:
    """Names of the targets that this version can convert to."""
    package = importlib.import_module("fer_edge.converters")
    modules = (module.name for module in pkgutil.iter_modules(package.__path__) if not module.ispkg)
    return tuple(sorted(name for name in modules if f"{package.__name__}.{name}" != __name__))


def converter(target: str) -> Converter:
    """The converter module for a target. Raises TargetError for one that does not exist."""
    if target not in targets():
        raise TargetError(f"unknown target {target!r}. Known: {', '.join(targets())}")
    return cast(Converter, importlib.import_module(f"fer_edge.converters.{target}"))
