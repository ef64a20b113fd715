"""Interface of converters: their input, their result and their functions.

A converter is a module ``converters/TARGET.py`` with

``PRECISIONS: tuple[str, ...]``
    Precisions that it can build, the most accurate first.
``build(source, precision, recipe) -> Artifact``
    Build the files of one variant. Raises ConversionError, or MissingDependencyError if its
    library is not installed.
``recipes(source, precision) -> Sequence[QuantizationRecipe]``
    List the recipes of a precision, the default first; empty if there is one way. The pipeline
    tries each on top of the best before it and takes the one that agrees most (recipe_search).

Two functions are optional, and called before any work. ``check_ready()`` raises
MissingDependencyError if the converter is not installed; it is called for targets that the user
names. ``check_chips(gpus, socs)`` raises TargetError for a chip that the target cannot compile for.
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
"""Settings of one way to build a precision. The bundle records these plain values."""

ENOUGH = 0.985
"""Agreement (share, 0..1) that ends a search of recipes.

Above it, two recipes differ by less than 300 faces can resolve.
"""


@dataclass(frozen=True)
class Int8Input:
    """int8 network of a checkpoint, whose scales every target writes as they are.

    Attributes:
        checkpoint: Checkpoint whose network computes in int8.
        graph: Its deploy graph as ONNX, with Q/DQ pairs and int8 weights.
    """

    checkpoint: Checkpoint
    graph: bytes


@dataclass(frozen=True)
class ConversionInput:
    """Input of every build for one bundle.

    Attributes:
        checkpoint: Trained network.
        graph: Its deploy graph as ONNX.
        calibration: Calibration faces, uint8 ``[N, S, S, 3]`` BGR.
        batch_sizes: Batch sizes to build for, the most frequent first. Engines with a range of
            shapes cover smallest to largest and are tuned for the first.
        gpus: Compute capabilities (``sm_86``) to compile for ahead of time.
        workspace_mib: GPU memory for one layer, in MiB; None means no limit.
        int8: The checkpoint's own int8 network; None calibrates int8 after training.
        socs: Qualcomm chips (``sa8295``) to compile context binaries for.
    """

    checkpoint: Checkpoint
    graph: bytes
    calibration: npt.NDArray[np.uint8]
    batch_sizes: tuple[int, ...] = (1,)
    gpus: tuple[str, ...] = ()
    workspace_mib: int | None = None
    int8: Int8Input | None = None
    socs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Artifact:
    """Files of one variant.

    Attributes:
        entry: Path of the file that the engine opens first, ``folder/name``.
        files: Contents by path.
        tools: Versions of the libraries that built them.
        needs: What the machine must offer; as in fer_edge.bundle.Variant.
        batch: Smallest and largest batch size; ``max`` None means no limit.
        reference_session: Opens a session that runs the same files without their engine. It
            verifies the variant on machines that cannot run the engine. None if only the engine
            can run them.
        verified_by: Name of the reference session, for ``judged_by`` in the parity report.
    """

    entry: str
    files: Mapping[str, bytes]
    tools: Mapping[str, str]
    needs: Mapping[str, Any] = field(default_factory=dict)
    batch: Mapping[str, int | None] = field(default_factory=lambda: {"min": 1, "max": None})
    reference_session: Callable[[], Session] | None = None
    verified_by: str = "reference_session"


class Converter(Protocol):
    """Functions of a converter module; see above."""

    PRECISIONS: tuple[str, ...]

    def build(
        self, source: ConversionInput, precision: str, recipe: QuantizationRecipe
    ) -> Artifact: ...

    def recipes(self, source: ConversionInput, precision: str) -> Sequence[QuantizationRecipe]: ...


def targets() -> tuple[str, ...]:
    """List the targets that this version can convert to."""
    package = importlib.import_module("fer_edge.converters")
    modules = (module.name for module in pkgutil.iter_modules(package.__path__) if not module.ispkg)
    return tuple(sorted(name for name in modules if f"{package.__name__}.{name}" != __name__))


def converter(target: str) -> Converter:
    """Return the converter module of a target.

    Args:
        target: Name of the target.

    Raises:
        TargetError: The target is unknown.
    """
    if target not in targets():
        raise TargetError(f"unknown target {target!r}. Known: {', '.join(targets())}")
    return cast(Converter, importlib.import_module(f"fer_edge.converters.{target}"))
