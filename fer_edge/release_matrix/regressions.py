"""Comparison of two release matrices: cells that got worse."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from fer_edge.benchmarks.measure.percentile_ratio import percentile_ratio
from fer_edge.benchmarks.measure.timing import MIN_SAMPLES
from fer_edge.benchmarks.reports.compare_reports import machine_differences
from fer_edge.release_matrix.cell import GRADES, HERE, PLACES, Cell
from fer_edge.release_matrix.stored import Comparison, Matrix
from fer_edge.shown import printable
from fer_edge.training.evaluation.intervals import paired_change_interval

LATENCY_FACTOR = 1.5
"""Growth of a median, as a factor, that counts as a regression. Two runs of the same code on a
machine with other work differ by up to a third."""


@dataclass
class _Findings:
    """Sentences about cells.

    Attributes:
        regressions: Cells that got worse.
        not_compared: Cells that the new matrix cannot answer for.
        notes: Figures that were left out of the comparison.
    """

    regressions: list[str] = field(default_factory=list)
    not_compared: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def compare(
    old: Matrix,
    new: Matrix,
    requested: Callable[[tuple[str, str, str]], bool],
    factor: float = LATENCY_FACTOR,
) -> Comparison:
    """Find the cells that got worse.

    A cell got worse if any of these holds:

    - Its grade fell.
    - It ran on weaker evidence on the same machine.
    - Its accuracy fell on the same faces: the 95 % interval of the change (Tango, for pairs) is
      below 0.
    - Its median latency grew by more than ``factor`` on the same machine, and the bootstrap
      interval of the ratio is above 1 (decision 18).

    Args:
        old: Matrix of an earlier version.
        new: Matrix to judge.
        requested: Tells if a key was requested in this run; other cells are left alone.
        factor: Growth of the median latency that is still allowed.
    """
    findings = _Findings()
    for before in old.cells:
        if not requested(before.key):
            continue
        after = new.cell(before.key)
        if after is None:
            findings.not_compared.append(f"{before.name} is in {old.version} and not in this one")
        elif after.build.not_installed and not before.build.not_installed:
            findings.not_compared.append(f"{before.name}: {after.build.failure}")
        else:
            _grade(before, after, findings)
            _accuracy(before, after, findings)
            _latency(before, after, factor, findings)
    sentences = (findings.regressions, findings.not_compared, dict.fromkeys(findings.notes))
    # Texts of a stored matrix go to a terminal and to a page.
    return Comparison(old.version, *(tuple(map(printable, each)) for each in sentences))


def _grade(before: Cell, after: Cell, findings: _Findings) -> None:
    fell = GRADES.index(after.grade) < GRADES.index(before.grade)
    places = [PLACES.index(cell.run.where) if cell.run else -1 for cell in (before, after)]
    weaker = places[1] < places[0]
    if not fell and not weaker:
        return
    sentence = f"{after.name}: {_words(before)} before, {_words(after)} now"
    if reason := _reason(after):
        sentence += f": {reason}"
    other = machine_differences(before.machine, after.machine)
    if weaker and after.build.failure is None and other:
        findings.not_compared.append(f"{sentence} (on another machine)")
    else:
        findings.regressions.append(sentence)


def _words(cell: Cell) -> str:
    return cell.grade if cell.run is None else f"{cell.grade} ({cell.run.where})"


def _reason(cell: Cell) -> str | None:
    if cell.build.failure is not None:
        return cell.build.failure
    if cell.parity is not None and (cell.parity.failures or cell.parity.warning):
        return "; ".join(cell.parity.failures) or cell.parity.warning
    return None if cell.run is None else cell.run.reason


def _accuracy(before: Cell, after: Cell, findings: _Findings) -> None:
    if before.accuracy is None or after.accuracy is None:
        return
    if before.identity.faces != after.identity.faces:
        findings.notes.append(
            f"accuracy of {after.model} is not compared: other faces judged than before"
        )
        return
    count = min(before.accuracy.faces, after.accuracy.faces)
    first, second = before.accuracy.bits[:count], after.accuracy.bits[:count]
    gained, lost = int((second & ~first).sum()), int((first & ~second).sum())
    weight = min(before.accuracy.independent, after.accuracy.independent)
    low, high = paired_change_interval(gained * weight, lost * weight, count * weight)
    if high < 0:
        findings.regressions.append(
            f"{after.name}: accuracy fell by {100 * (lost - gained) / count:.2f} points "
            f"({-100 * high:.2f} to {-100 * low:.2f}) on the same {count:,} faces"
        )


def _latency(before: Cell, after: Cell, factor: float, findings: _Findings) -> None:
    old = before.run.latencies if before.run else None
    if old is None or len(old) < MIN_SAMPLES[50] or after.run is None or after.run.where != HERE:
        return  # a run on weaker evidence is a finding of its own
    if other := machine_differences(before.machine, after.machine):
        findings.notes.append(f"latencies are not compared: other machine ({'; '.join(other)})")
        return
    new = after.run.latencies
    if new is None or len(new) < MIN_SAMPLES[50]:
        reason = after.run.note or f"{0 if new is None else len(new)} samples are too few"
        findings.not_compared.append(f"{after.name}: its latency is not measured now: {reason}")
        return
    ratio, low, high = percentile_ratio(new, old, 50)
    if ratio > factor and low > 1:
        findings.regressions.append(
            f"{after.name}: the median latency grew {ratio:.2f} times ({low:.2f} to {high:.2f}) on "
            f"the same machine, {factor:g} times is allowed"
        )
