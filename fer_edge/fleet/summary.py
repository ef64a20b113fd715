"""Summaries of drives from the figures of their clips."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fer_edge.fleet.clips import Clip
from fer_edge.fleet.parts import write_table
from fer_edge.fleet.rules import RULES
from fer_edge.fleet.schema import CLIPS, DRIVES, FIGURES
from fer_edge.fleet.scorer import ClipReport
from fer_edge.fleet.tally import quantile_ms
from fer_edge.shown import without_password

Entry = tuple[Clip, ClipReport]


def summarize(entries: Sequence[Entry]) -> list[dict[str, Any]]:
    """Return the figures of each drive.

    Sums go over the clips in the order of their names, so that they do not depend on the order in
    which the clips were scored.

    Args:
        entries: Clips and reports, ordered by drive and name.
    """
    groups = itertools.groupby(entries, key=lambda entry: entry[0].drive)
    return [_drive(drive, list(group)) for drive, group in groups]


def write_summaries(out: Path, entries: Sequence[Entry]) -> list[dict[str, Any]]:
    """Write ``clips``, ``drives`` and ``figures``; return the figures of the drives."""
    drives = summarize(entries)
    write_table(out / "clips.parquet", CLIPS, [_clip(*entry) for entry in entries])
    write_table(out / "drives.parquet", DRIVES, [_columns(drive) for drive in drives])
    figures = [
        {"drive": drive["drive"], "figure": figure, "name": name, "value": value}
        for drive in drives
        for figure in FIGURE_NAMES
        for name, value in drive[figure].items()
    ]
    write_table(out / "figures.parquet", FIGURES, figures)
    return drives


FIGURE_NAMES = (
    *("missing_s", "label_s", "events", "events_per_hour", "perclos_max"),
    *("alerts", "alerts_per_hour", "false_alerts_per_hour"),
)
"""Figures of a drive that have a value for each name."""


def _columns(drive: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in drive.items() if key not in (*FIGURE_NAMES, "latency")}


def _drive(drive: str, entries: list[Entry]) -> dict[str, Any]:
    tallies = [report.tally for _, report in entries]
    stream_s = sum(tally["stream_s"] for tally in tallies)
    valid_s = sum(tally["valid_s"] for tally in tallies)
    events = merged([tally["events"] for tally in tallies])
    latency = merged([tally["latency"] for tally in tallies])
    answers = sorted(t["first_answer_s"] for t in tallies if t["first_answer_s"] is not None)
    changes = sum(tally["changes"] for tally in tallies)
    hours = stream_s / 3600
    attentive = [report.tally for clip, report in entries if clip.attentive]
    return {
        "drive": drive,
        "clips": len(entries),
        "failed": sum(report.status == "failed" for _, report in entries),
        "partial": sum(report.status == "partial" for _, report in entries),
        "frames": sum(tally["frames"] for tally in tallies),
        "stream_s": stream_s,
        "valid_s": valid_s,
        "availability": valid_s / stream_s if stream_s > 0 else None,
        "missing_s": merged([tally["missing_s"] for tally in tallies]),
        "label_s": merged([tally["label_s"] for tally in tallies]),
        "first_answer_s": answers[len(answers) // 2] if answers else None,
        "events": events,
        "events_per_hour": {k: n / hours for k, n in events.items()} if hours > 0 else {},
        "flicker_per_min": 60 * changes / valid_s if valid_s > 0 else None,
        **_attention(tallies, attentive, hours),
        "p50_ms": quantile_ms(latency, 0.5),
        "p99_ms": quantile_ms(latency, 0.99),
        "max_ms": max((tally["most_ms"] for tally in tallies), default=None),
        "latency": latency,
    }


def _attention(
    tallies: list[dict[str, Any]], attentive: list[dict[str, Any]], hours: float
) -> dict[str, Any]:
    """Return the figures of the in-car rules."""
    figures = [tally["attention"] for tally in tallies]
    alerts = merged([one["alerts"] for one in figures])
    false = merged([tally["attention"]["alerts"] for tally in attentive])
    quiet_hours = sum(tally["stream_s"] for tally in attentive) / 3600
    if quiet_hours > 0:
        false = {rule: false.get(rule, 0) / quiet_hours for rule in RULES}
    windows = sorted({name for one in figures for name in one["perclos_max"]})
    return {
        "attention_known_s": sum(one["known_s"] for one in figures),
        **{name: sum(one[name] for one in figures) for name in _ATTENTION},
        "perclos_max": {w: max(one["perclos_max"].get(w, 0.0) for one in figures) for w in windows},
        "alerts": alerts,
        "alerts_per_hour": {rule: n / hours for rule, n in alerts.items()} if hours > 0 else {},
        "false_alerts_per_hour": false if quiet_hours > 0 else {},
    }


_ATTENTION = ("away_s", "eyes_known_s", "closed_s")


def _clip(clip: Clip, report: ClipReport) -> dict[str, Any]:
    tally = report.tally
    return {
        "drive": clip.drive,
        "clip": clip.name,
        "camera": clip.camera,
        "path": without_password(clip.path).encode("utf-8", "backslashreplace").decode(),
        "start": clip.start,
        "speed_kmh": clip.speed_kmh,
        "status": report.status,
        "error": report.error,
        **{key: tally[key] for key in ("frames", "stream_s", "valid_s", "first_answer_s")},
        "p50_ms": quantile_ms(tally["latency"], 0.5),
        "p99_ms": quantile_ms(tally["latency"], 0.99),
    }


def merged(sums: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Add up numbers by name; names are sorted."""
    total: dict[str, Any] = {}
    for one in sums:
        for name, value in one.items():
            total[name] = total.get(name, 0) + value
    return dict(sorted(total.items()))
