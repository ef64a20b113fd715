"""Interface of an engine: facts, two functions and a session.

A backend is a module ``fer_edge/backends/TARGET.py`` with

``FACTS: TargetFacts``
    Facts about the target: chips, precisions, libraries. Other rooms derive their lists from it.
``preflight(variant, options) -> str | None``
    Returns None if the variant can run on this machine, or a sentence that says why not. Loads
    no model.
``load(variant, files, options) -> Session``
    Loads the variant. ``files`` has the verified bytes by path.

Four functions are optional. ``build`` compiles a variant on the device (see tensorrt.py).
``diagnose() -> tuple[bool, str]`` reports whether the target runs on this machine, in words.
``executed(variant, files, options, size_px) -> Execution`` loads the variant once more and reports
what ran where; ``size_px`` is the side of a face. Nobody calls it at a start.
``simulates(options) -> str | None`` names the simulator that runs instead of a chip. Its
sessions are never timed.

Importing a backend imports no engine; ``load`` does.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, cast

import numpy as np
import numpy.typing as npt

from fer_edge.bundle import Variant
from fer_edge.errors import TargetError

Batch = npt.NDArray[np.uint8]
"""Faces, uint8 ``[N, S, S, 3]`` BGR, contiguous."""
Outputs = tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]
"""Probabilities float32 ``[N, C]`` and embeddings float32 ``[N, D]``. The caller owns both."""


@dataclass(frozen=True)
class TargetFacts:
    """Facts about one target, stated once, in its backend.

    Help texts, ``fer-edge doctor``, reports, the conversion matrix and the contract suite are
    derived from them.

    Attributes:
        chips: Processors that the target runs on, in words.
        precisions: Precisions that it can run, the most accurate first.
        quantised: Precisions among them that need faces for calibration.
        calibrates_own_int8: int8 needs them even if the checkpoint has int8 weights.
        extra: Extra of the package that installs the engine; None if a plain install has it.
        libraries: Distributions of the engine, for version records.
        modules: Top-level modules that the backend may import when it loads a variant.
        device_clock: Its sessions have ``device_ms(batch)``, times by the clock of the chip.
        survives_fork: A session works in a forked child of the process that loaded it.
        in_tests_only: The target is a stand-in for tests, and no user is offered it.
    """

    chips: str
    precisions: tuple[str, ...]
    quantised: tuple[str, ...] = ()
    calibrates_own_int8: bool = False
    extra: str | None = None
    libraries: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()
    device_clock: bool = False
    survives_fork: bool = False
    in_tests_only: bool = False


@dataclass(frozen=True)
class Options:
    """Limits and preferences for an engine.

    Attributes:
        device: The engine's name for the device (``cpu``, ``cuda``; OpenVINO also ``gpu`` and
            ``npu``). None is the device that the engine is made for.
        threads: CPU threads per inference; None lets the engine use all cores that the process may
            use, within the CPU quota of its container.
        hint: ``latency`` runs one request on all threads; ``throughput`` splits a batch over
            streams.
        cache_dir: Folder for compiled models; None writes nothing.
    """

    device: str | None = None
    threads: int | None = None
    hint: Literal["latency", "throughput"] = "latency"
    cache_dir: Path | None = None


class Session(Protocol):
    """Loaded network. Several threads may call ``run`` at once."""

    def run(self, batch: Batch) -> Outputs:
        """Run a batch of any size. Raises EngineError."""
        ...

    def close(self) -> None:
        """Release the engine's memory."""
        ...


class Backend(Protocol):
    """Module of a target; see the top of this file."""

    FACTS: TargetFacts

    def preflight(self, variant: Variant, options: Options) -> str | None:
        """Return why the variant cannot run on this machine, or None."""
        ...

    def load(self, variant: Variant, files: Mapping[str, bytes], options: Options) -> Session:
        """Load a variant from its verified files. Raises EngineError."""
        ...


_PACKAGE = "fer_edge.backends"


def simulator(target: str, options: Options) -> str | None:
    """Name the simulator that a target runs on; None on a chip."""
    simulates = getattr(backend(target), "simulates", None)
    return None if simulates is None else cast("str | None", simulates(options))


def targets() -> tuple[str, ...]:
    """Return the names of all backends, in alphabetical order."""
    package = importlib.import_module(_PACKAGE)
    modules = (module.name for module in pkgutil.iter_modules(package.__path__))
    # A target is one word; TARGET_part.py is a part of its backend.
    return tuple(
        sorted(name for name in modules if "_" not in name and __name__ != f"{_PACKAGE}.{name}")
    )


def backend(target: str) -> Backend:
    """Return the backend of a target. Raises TargetError if there is none."""
    if target not in targets():
        raise unknown_target(target)
    return cast(Backend, importlib.import_module(f"fer_edge.backends.{target}"))


def offered() -> dict[str, TargetFacts]:
    """Return the facts of each target that users are offered, by name."""
    facts = {target: backend(target).FACTS for target in targets()}
    return {target: one for target, one in facts.items() if not one.in_tests_only}


def unknown_target(target: str) -> TargetError:
    """Return the error for an unknown target. It lists the targets with their chips."""
    known = ", ".join(f"{name} ({facts.chips})" for name, facts in offered().items())
    return TargetError(f"unknown target {target!r}. Known: {known}")


def how_to_make(target: str | None, precision: str | None) -> str:
    """Return the advice for a variant that a bundle lacks.

    Args:
        target: Name of the target; None takes all.
        precision: Name of the precision; None takes all.

    Returns:
        The command that makes it, or the variants that the command can make.
    """
    able = {name: facts for name, facts in offered().items() if target in (None, name)}
    if any(precision in (None, *facts.precisions) for facts in able.values()):
        options = f"--target {target or 'TARGET'}" + (f" --precision {precision}" * bool(precision))
        return f"Make one: fer-edge convert CHECKPOINT {options} -o NAME.fer"
    offers = [
        f"{name}: {', '.join(facts.precisions)}" for name, facts in (able or offered()).items()
    ]
    return f"fer-edge convert cannot make it. Ask for one of these: {'; '.join(offers)}"


def not_installed(facts: TargetFacts) -> str:
    """Return what ``diagnose`` says of an engine that is not installed."""
    line = f"pip install 'fer-edge[{facts.extra}]'"
    return f"not installed; runs bundles on {facts.chips}. Run: {line}"


def engine_libraries() -> tuple[str, ...]:
    """Return the distributions of all engines, for version records."""
    return tuple(library for facts in offered().values() for library in facts.libraries)
