"""Page of a release matrix, in Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fer_edge.benchmarks.measure.timing import MIN_SAMPLES
from fer_edge.converters.pipeline.face_samples import MIN_GATE_FACES
from fer_edge.page import markdown_table
from fer_edge.release_matrix.cell import HERE, NOWHERE, SIMULATED, STAND_IN, Accuracy, Cell
from fer_edge.release_matrix.stored import Comparison, Matrix
from fer_edge.verdict import PASSED, UNDECIDED

_MARKS = {"not built": "–", "built": "built", "ran": "✗", UNDECIDED: "?", PASSED: "✓"}
_LEGEND = (
    "✓ passed its parity gate; ? too few faces for a verdict; ✗ ran, and a figure is beyond its "
    "limit; built: nothing on this machine ran it; – not built. **simulated** cells ran on a "
    "simulator of the chip, **stand-in** cells on an evaluator or another engine that runs the "
    "same file."
)
_LATENCY = (
    "Latency: `predict_batch` with one 200x200 BGR crop (batch 1), resize and answer included, "
    "call after call in the steady state, as `fer-edge bench --scenario single` measures it; "
    "each variant alone. Simulators and stand-ins are not timed. An empty p99 has too few samples "
    f"({MIN_SAMPLES[99]:,} are needed)."
)
_PARITY = (
    "Parity: share of the answered decisions that the variant keeps, with its 95 % interval. "
    "Accuracy: right labels on the faces that judged, with its 95 % interval."
)


def page(matrix: Matrix) -> str:
    """Return the page in Markdown: regressions first, then the cells and their notes."""
    parts = [
        f"# Release matrix {matrix.version}",
        _compared(matrix.comparison, matrix.unfinished),
    ]
    if matrix.cells:
        parts += _tables(matrix)
    return "\n\n".join(part for part in parts if part) + "\n"


def _tables(matrix: Matrix) -> list[str]:
    """Return the sections on cells."""
    notes: list[str] = []
    rows = [_row(cell, notes) for cell in matrix.cells]
    head = ["model", "target", "precision", "grade", "MB", "build s", "runs", "p50 ms", "p99 ms"]
    head += ["parity", "accuracy", "notes"]
    return [
        "## At a glance",
        markdown_table(["", *_models(matrix)], _glance(matrix)).rstrip(),
        _LEGEND,
        "## Conditions",
        *map(_conditions, matrix.conditions),
        "## Cells",
        _LATENCY,
        _PARITY,
        markdown_table(head, rows).rstrip(),
        "\n".join(f"[{i}] {note}  " for i, note in enumerate(notes, start=1)),
    ]


def _compared(comparison: Comparison | None, unfinished: Sequence[str]) -> str:
    """Return the section on regressions, or why there is none."""
    if unfinished:
        count = len(unfinished)
        left = "1 cell is" if count == 1 else f"{count} cells are"
        return f"**Unfinished: {left} left.** Run the command again to go on."
    if comparison is None:
        return "There is no earlier version to compare with."
    count = len(comparison.regressions)
    title = f"## Regressions since {comparison.version}: {count or 'none'}"
    parts = [title, *(_list(comparison.regressions),)]
    if comparison.not_compared:
        parts += ["Not compared, and so not known to be as good as before:"]
        parts += [_list(comparison.not_compared)]
    parts += [_list(comparison.notes)]
    return "\n\n".join(part for part in parts if part)


def _list(sentences: Sequence[str]) -> str:
    return "\n".join(f"- {_safe(sentence)}" for sentence in sentences)


def _models(matrix: Matrix) -> list[str]:
    return list(dict.fromkeys(cell.model for cell in matrix.cells))


def _glance(matrix: Matrix) -> list[list[str]]:
    pairs = dict.fromkeys((cell.target, cell.precision) for cell in matrix.cells)
    rows = []
    for pair in pairs:
        cells = [matrix.cell((model, *pair)) for model in _models(matrix)]
        rows.append(["/".join(pair), *("" if cell is None else _mark(cell) for cell in cells)])
    return rows


def _mark(cell: Cell) -> str:
    mark = _MARKS[cell.grade]
    if cell.run is None or cell.run.where in (HERE, NOWHERE):
        return mark
    return f"{mark} {cell.run.where}"


def _conditions(run: Mapping[str, Any]) -> str:
    """Return settings and machine of a run, and the number of its cells."""
    targets = dict.fromkeys(name.rpartition(" ")[2].partition("/")[0] for name in run["cells"])
    count = len(run["cells"])
    cells = f"{count} cell{'s' * (count != 1)} of {', '.join(targets)}"
    head = f"`{run.get('command')}`, {run.get('time')}, {run.get('machine')}: {cells}"
    lines = [f"- {name}: {faces}" for name, faces in dict(run.get("faces", {})).items()]
    if {"judge_seconds", "budget_s"} <= run.keys():
        lines += [
            f"- each variant is judged on the faces of {run['judge_seconds']:g} s, and on at least "
            f"{MIN_GATE_FACES}; timed for {run['budget_s']:g} s"
        ]
    versions = ", ".join(f"{k} {v}" for k, v in dict(run.get("libraries", {})).items())
    lines += [f"- {run.get('system')}, Python {run.get('python')}, {versions}"]
    return head + "\n\n" + "\n".join(map(_safe, lines))


def _row(cell: Cell, notes: list[str]) -> list[str]:
    build, run, accuracy = cell.build, cell.run, cell.accuracy
    marks = []
    for note in filter(None, _notes(cell)):
        if note not in notes:
            notes.append(note)
        marks.append(f"[{notes.index(note) + 1}]")
    return [
        cell.model,
        cell.target,
        cell.precision,
        cell.grade,
        "" if build.bytes is None else f"{build.bytes / 1e6:.1f}",
        "" if build.seconds is None else f"{build.seconds:.1f}",
        "" if run is None else _place(run.where),
        "" if run is None or run.p50_ms is None else f"{run.p50_ms:.2f}",
        "" if run is None or run.p99_ms is None else f"{run.p99_ms:.2f}",
        _parity(cell),
        "" if accuracy is None else _accuracy(accuracy),
        " ".join(marks),
    ]


def _accuracy(accuracy: Accuracy) -> str:
    low, high = 100 * accuracy.low, 100 * accuracy.high
    return f"{100 * accuracy.value:.2f} % ({low:.2f} to {high:.2f}), {accuracy.faces:,} faces"


def _place(where: str) -> str:
    return f"**{where}**" if where in (SIMULATED, STAND_IN) else where


def _parity(cell: Cell) -> str:
    if cell.parity is None or cell.parity.judgement is None:
        return ""
    checks = {check.name: check for check in cell.parity.judgement.checks}
    check = checks.get("answered_agreement") or checks["agreement"]
    figures = f"{100 * check.value:.2f} % ({100 * check.low:.2f} to {100 * check.high:.2f})"
    return f"{cell.verdict}, {figures}, max dp {cell.parity.max_abs_dp:.1e}"


def _notes(cell: Cell) -> list[str | None]:
    """Return the sentences that explain a cell: failures, what stood in, what was executed."""
    report, run = cell.parity, cell.run
    broken = None if report is None else "; ".join(report.failures) or _doubt(cell)
    if run is None:
        return [_safe(cell.build.failure or "")]
    place = run.reason
    if run.by is not None:
        place = f"{run.where}: {run.by} ran instead of the chip's engine, as {run.reason}"
    return [_safe(text) if text else None for text in (broken, place, run.executed, run.note)]


def _doubt(cell: Cell) -> str | None:
    judgement = None if cell.parity is None else cell.parity.judgement
    return None if judgement is None else judgement.warning


def _safe(text: str) -> str:
    """Return text that stays in its line and its table cell."""
    return " ".join(text.split()).replace("|", "/").replace("<", "&lt;")
