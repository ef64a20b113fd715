"""Verdict about a second bundle, with intervals over drives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fer_edge.fleet.summary import Entry, merged

LEVEL, ROUNDS, SEED = 0.95, 2000, 0
"""Confidence level (0..1) of the intervals, number of draws, and their seed."""
MIN_DRIVES = 5
"""Smallest number of drives for a verdict. A bootstrap over fewer is too narrow."""
MOST_DIFFERENT = 0.05
"""Largest share (0..1) of the commonly known time in which answers may differ."""
MOST_LOST = 0.01
"""Largest loss of availability, as a share (0..1) of the time."""
METHOD = (
    f"{LEVEL:.0%} percentile bootstrap over drives, {ROUNDS:,} draws, seed {SEED}: frames of one "
    "drive are alike, and count as one"
)

Values = npt.NDArray[np.float64]


def compare(entries: Sequence[Entry]) -> dict[str, Any] | None:
    """Return the comparison over all drives.

    None if no clip was scored by two bundles.

    Args:
        entries: Clips and reports, ordered by drive and name.

    Returns:
        Plain values: ``verdict`` ("same", "different" or "undecided"), ``why``, ``figures`` by
        name with ``value`` and ``interval``, ``drives``, ``longest`` and ``method``.
    """
    by_drive: dict[str, list[dict[str, Any]]] = {}
    longest: list[dict[str, Any]] = []
    for clip, report in entries:
        if report.against is None:
            continue
        place = {"drive": clip.drive, "clip": clip.name}
        longest += [place | item for item in report.against["longest"]]
        by_drive.setdefault(clip.drive, []).append({"one": report.tally, **report.against})
    if not by_drive:
        return None
    rows = [_row(drive, clips) for drive, clips in sorted(by_drive.items())]
    table = {name: np.array([row[name] for row in rows], np.float64) for name in _SUMS}
    draws = np.random.default_rng(SEED).integers(0, len(rows), (ROUNDS, len(rows)))
    figures = {name: _figure(ratio, table, draws) for name, ratio in _FIGURES.items()}
    verdict, why = judge(figures, len(rows))
    longest.sort(key=lambda d: (d["start_s"] - d["end_s"], d["drive"], d["clip"], d["start_s"]))
    return {
        "verdict": verdict,
        "why": why,
        "figures": figures,
        "drives": rows,
        "longest": longest[:20],
        "method": METHOD,
    }


def judge(figures: dict[str, dict[str, Any]], drives: int) -> tuple[str, str]:
    """Return the verdict and its reason."""
    different, change = figures["different"], figures["availability_change"]
    if drives < MIN_DRIVES:
        return "undecided", f"{drives} drives; a verdict needs {MIN_DRIVES}"
    if different["interval"] is None or change["interval"] is None:
        return "undecided", "the two bundles never know an expression at the same time"
    (low, high), (worst, best) = different["interval"], change["interval"]
    limits = f"limits: {MOST_DIFFERENT:.0%} different, {MOST_LOST:.0%} of availability lost"
    if low > MOST_DIFFERENT or best < -MOST_LOST:
        return "different", f"the interval lies beyond a limit; {limits}"
    if high <= MOST_DIFFERENT and worst >= -MOST_LOST:
        return "same", f"the intervals lie within the limits; {limits}"
    return "undecided", f"an interval contains a limit; score more drives; {limits}"


def _row(drive: str, clips: list[dict[str, Any]]) -> dict[str, Any]:
    row = merged([{name: clip[name] for name in _COMPARED} for clip in clips])
    for suffix, key in (("", "one"), ("_against", "tally")):
        sums = merged([{name: clip[key][name] for name in _TALLIED} for clip in clips])
        row |= {f"{name}{suffix}": value for name, value in sums.items()}
        events = sum(sum(clip[key]["events"].values()) for clip in clips)
        row[f"events{suffix}"] = events
    return {"drive": drive, **row}


_COMPARED = ("both_s", "differ_s", "only_s", "only_against_s", "disagreements")
_TALLIED = ("stream_s", "valid_s", "changes")
_SUMS = (
    *_COMPARED,
    *(f"{name}{suffix}" for name in (*_TALLIED, "events") for suffix in ("", "_against")),
)

Ratio = Callable[[dict[str, Values]], Values]


def _per(name: str, base: str, factor: float = 1.0) -> Ratio:
    """Return the change of a rate from the first bundle to the second one."""
    return lambda sums: (
        factor * sums[f"{name}_against"] / sums[f"{base}_against"]
        - factor * sums[name] / sums[base]
    )


_FIGURES: dict[str, Ratio] = {
    "different": lambda sums: sums["differ_s"] / sums["both_s"],
    "availability": lambda sums: sums["valid_s"] / sums["stream_s"],
    "availability_change": _per("valid_s", "stream_s"),
    "events_per_hour_change": _per("events", "stream_s", 3600.0),
    "changes_per_min_change": _per("changes", "valid_s", 60.0),
}


def _figure(ratio: Ratio, table: dict[str, Values], draws: npt.NDArray[np.int64]) -> dict[str, Any]:
    """Return a ratio of sums over drives, with its interval. None if the base is 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        value = float(ratio({name: np.asarray(column.sum()) for name, column in table.items()}))
        drawn = ratio({name: column[draws].sum(1) for name, column in table.items()})
    drawn = drawn[np.isfinite(drawn)]
    if not np.isfinite(value):
        return {"value": None, "interval": None}
    if draws.shape[1] < 2 or not len(drawn):
        return {"value": value, "interval": None}
    tail = 50 * (1 - LEVEL)
    low, high = np.percentile(drawn, [tail, 100 - tail])
    return {"value": value, "interval": [float(low), float(high)]}
