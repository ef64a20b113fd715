"""Run of the release matrix: grade missing cells, and compare versions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import fer_edge
from fer_edge.benchmarks.machine.environment import environment, gpu_names, machine
from fer_edge.benchmarks.reports.compare_reports import MACHINE
from fer_edge.converters.pipeline.matrix import cells as target_cells
from fer_edge.converters.pipeline.prepare import JUDGE_SECONDS, Settings, prepare
from fer_edge.errors import FerEdgeError, MissingDependencyError
from fer_edge.progress import Say, Step, silent
from fer_edge.release_matrix import stored
from fer_edge.release_matrix.cell import Build, Cell, Identity, cell_name
from fer_edge.release_matrix.grade import Grading, grade
from fer_edge.release_matrix.models import GradedModel, load_models
from fer_edge.release_matrix.page import page
from fer_edge.release_matrix.regressions import LATENCY_FACTOR, compare
from fer_edge.release_matrix.stored import Matrix
from fer_edge.shipped import MODELS

FOLDER = Path("docs/results/matrix")
"""Folder of the stored matrices, one of each version."""
BUDGET_S = 3.0
"""Seconds to time each variant."""
_Key = tuple[str, str, str]
"""Model, target and precision."""


@dataclass(frozen=True)
class Request:
    """Cells to grade, and how.

    Attributes:
        checkpoints: Names of shipped models, or checkpoint folders; empty means all shipped ones.
        targets: Names of targets; empty means all.
        precisions: Names of precisions; empty means all.
        data: Labelled faces; None makes faces from the shipped composites.
        faces: Largest number of faces that judge a cell; None takes all.
        gpus: GPUs to compile engines for, as in convert.
        budget_s: Seconds to time each variant.
        judge_seconds: Seconds after which a variant is judged on the faces so far.
        again: Grade all cells again.
        factor: Growth of the median latency that is not a regression.
        against: JSON to compare with; None is that of the last version before this one.
    """

    checkpoints: Sequence[str] = ()
    targets: Sequence[str] = ()
    precisions: Sequence[str] = ()
    data: Path | None = None
    faces: int | None = None
    gpus: tuple[str, ...] = ()
    budget_s: float = BUDGET_S
    judge_seconds: float = JUDGE_SECONDS
    again: bool = False
    factor: float = LATENCY_FACTOR
    against: Path | None = None

    @property
    def everything(self) -> bool:
        """True if all cells are asked for."""
        return not (self.checkpoints or self.targets or self.precisions)


def release_matrix(
    request: Request,
    folder: Path = FOLDER,
    *,
    version: str = fer_edge.__version__,
    say: Say = print,
    step: Step = silent,
) -> Matrix:
    """Grade the cells that are not graded yet, and compare them with the last version.

    ``VERSION.json`` and ``VERSION.md`` in the folder are written after each cell. A cell whose
    inputs (``Identity``) are as stored is kept, whatever ``gpus``, ``budget_s`` and
    ``judge_seconds`` are; one that lacked a library is tried again.

    Args:
        request: Cells to grade, and how.
        folder: Folder of the stored matrices.
        version: Version to grade, the name of both files.
        say: Receives each sentence of progress.
        step: Receives the progress over all cells.

    Returns:
        The matrix, with its comparison.

    Raises:
        InputError: A precision is unknown, or two checkpoints have one name.
        CheckpointError: A checkpoint cannot be read.
        DataError: The faces or a stored matrix cannot be read.
    """
    pairs = target_cells(request.targets, request.precisions)
    before = request.against or stored.earlier(folder, version)
    old = None if before is None else stored.load(before)  # damaged: known before hours of work
    path = folder / f"{version}.json"
    matrix = stored.load(path) if path.exists() else Matrix(version)
    models = load_models(request.checkpoints, pairs, request.data, request.faces, version)
    identities = {key: identity for model in models for key, identity in model.identities.items()}
    todo = [
        key
        for key, identity in identities.items()
        if request.again or not _is_done(matrix.cell(key), identity)
    ]
    kept = len(identities) - len(todo)
    again = "; --again grades them with the settings of this run" if kept else ""
    say(f"{len(identities)} cells, {kept} of them graded before{again}")
    env = environment()
    facts = _Facts(
        path,
        version,
        order=[model.name for model in models] + list(MODELS),
        conditions=_conditions(request, models, env),
        machine={
            **{key: env[key] for key in MACHINE},  # type: ignore[literal-required]
            "gpus": [{"name": name} for name in gpu_names(env)],
        },
        asked=None if request.everything else {cell_name(*key) for key in identities},
    )
    left = [cell_name(*key) for key in todo]
    # A place that cannot be written is known before hours of work.
    facts.write(
        lambda now: replace(now, unfinished=(*facts.left_by_others(now), *left), comparison=None)
    )
    done, graded = kept, list[Cell]()
    for model in models:
        keys = [key for key in model.identities if key in todo]
        shared = _shared(model, keys, request, facts.machine, say) if keys else ""
        for key in keys:
            step(" ".join(key), done, len(identities))
            cell = (
                Cell(*key, identities[key], facts.machine, Build(shared))
                if isinstance(shared, str)
                else grade(key, identities[key], shared, say)
            )
            done += 1
            graded.append(cell)
            matrix = facts.add(cell, graded)
    comparison = None
    if old is not None:
        comparison = compare(
            old, matrix, lambda key: request.everything or key in identities, request.factor
        )
    return facts.write(lambda now: replace(now, comparison=comparison))


@dataclass(frozen=True)
class _Facts:
    """Stored matrix of this run, and what is written beside the cells.

    Attributes:
        path: Path of the JSON.
        version: Version that is graded.
        order: Names of models in the order of the page.
        conditions: Settings and machine, for readers.
        machine: Facts about the machine; see ``Cell``.
        asked: Names of the cells that were asked for; None means all.
    """

    path: Path
    version: str
    order: Sequence[str]
    conditions: Mapping[str, Any]
    machine: Mapping[str, Any] = field(default_factory=dict)
    asked: Set[str] | None = None

    def left_by_others(self, now: Matrix) -> tuple[str, ...]:
        """Return the cells that earlier runs left, and this one was not asked for."""
        if self.asked is None:
            return ()
        return tuple(name for name in now.unfinished if name not in self.asked)

    def add(self, cell: Cell, graded: Sequence[Cell]) -> Matrix:
        """Write a graded cell, the last of this run's; return the matrix."""

        def added(now: Matrix) -> Matrix:
            cells = now.with_cell(cell).graded_under(self.conditions, graded)
            left = tuple(name for name in now.unfinished if name != cell.name)
            return replace(cells, unfinished=left, comparison=None)

        return self.write(added)

    def write(self, edit: Callable[[Matrix], Matrix]) -> Matrix:
        """Change the JSON, write the page beside it, and return the matrix."""

        def ordered(now: Matrix) -> Matrix:
            return edit(now).sorted_by(self.order, target_cells())

        matrix = stored.change(self.path, ordered, self.version)
        stored.write(self.path.with_suffix(".md"), page(matrix))
        return matrix


def _is_done(cell: Cell | None, identity: Identity) -> bool:
    return cell is not None and cell.identity == identity and not cell.build.not_installed


def _shared(
    model: GradedModel,
    keys: Sequence[_Key],
    request: Request,
    machine_facts: Mapping[str, Any],
    say: Say,
) -> Grading | str:
    """Return what the cells of a model share, or why the network cannot be exported."""
    settings = Settings(gpus=request.gpus, judge_seconds=request.judge_seconds)
    pairs = [(target, precision) for _, target, precision in keys]
    say(f"{model.name}: {len(model.gate.images):,} faces judge")
    try:
        prepared = prepare(model.checkpoint, pairs, model.gate, model.calibration, settings, say)
    except MissingDependencyError:  # of every cell, so the user installs it first
        raise
    except FerEdgeError as error:
        return str(error)
    return Grading(prepared, model.rule, machine_facts, request.budget_s)


def _conditions(
    request: Request, models: Sequence[GradedModel], env: Mapping[str, Any]
) -> dict[str, Any]:
    """Return settings and machine in words and numbers, for the page."""
    return {
        "command": env["command"],
        "time": env["time"],
        "machine": machine(env),
        "system": env["system"],
        "python": env["python"],
        "libraries": dict(env["libraries"]),
        "budget_s": request.budget_s,
        "judge_seconds": request.judge_seconds,
        "latency_factor": request.factor,
        "faces": {
            model.name: f"{len(model.gate.images):,} faces of {model.gate.source}"
            for model in models
        },
    }
