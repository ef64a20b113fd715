"""Scenario: its measurement and the form of its report.

``fer-edge bench --scenario NAME`` picks one.

A scenario is a module of this package with a constant ``SCENARIO``; its name is the module's name.
Columns, budget metrics and the JSON Schema of a report are derived from these constants.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any, cast

from fer_edge.errors import InputError

if TYPE_CHECKING:
    # The command line reads the names for its help, and must not load numpy for them.
    from fer_edge.benchmarks.job import Job
    from fer_edge.benchmarks.measure.cells import Cell
    from fer_edge.benchmarks.measure.metrics import Metric


@dataclass(frozen=True)
class Scenario:
    """One way to measure, with the form of its report.

    Attributes:
        help: One sentence about what is measured.
        run: Measures a job. Returns parts of the report: ``rows``, ``method`` and ``parts``.
        batch_sizes: Faces per call (cameras of a stream) unless others are requested.
        row: TypedDict of a row.
        columns: Cells of a row's table by header, after ``variant`` and ``batch``.
        metrics: Figures that a budget can limit, by name.
        parts: Types of the report's further parts, by name.
        references: Whether references (torch, ``--against``) can be measured as well.
        sizes: Whether ``--batch-sizes`` sets the faces per call or the cameras.
        rate: Whether frames arrive at a rate (``--hz``, ``--deadline-ms``).
    """

    help: str
    run: Callable[[Job], dict[str, Any]]
    batch_sizes: tuple[int, ...]
    row: type
    columns: Mapping[str, Cell]
    metrics: Mapping[str, Metric]
    parts: Mapping[str, Any] = field(default_factory=dict)
    references: bool = False
    sizes: bool = True
    rate: bool = False


def names() -> tuple[str, ...]:
    """Return the names of all scenarios, without importing them."""
    package = import_module("fer_edge.benchmarks.scenarios")
    modules = (module.name for module in pkgutil.iter_modules(package.__path__))
    return tuple(sorted(name for name in modules if f"{package.__name__}.{name}" != __name__))


def scenario(name: str) -> Scenario:
    """Return the scenario of that name.

    Raises:
        InputError: There is no such scenario.
    """
    if name not in names():
        raise InputError(f"expected a scenario of {', '.join(names())}, got {name!r}")
    return cast(Scenario, import_module(f"fer_edge.benchmarks.scenarios.{name}").SCENARIO)


def scenarios() -> dict[str, Scenario]:
    """Return all scenarios by name."""
    return {name: scenario(name) for name in names()}
