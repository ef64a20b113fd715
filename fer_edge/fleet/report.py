"""``report.html``: all drives of an output folder on one page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fer_edge.fleet.plots import comparison
from fer_edge.fleet.plots import pictures as draw
from fer_edge.fleet.summary import Entry, merged
from fer_edge.fleet.tally import quantile_ms
from fer_edge.page import facts, page, picture, pictures, table
from fer_edge.shown import printable

_MOST_DRIVES, _MOST_FAULTS = 200, 100
"""Most rows of the tables. The Parquet tables have all."""
_CAPTIONS = {
    "Availability by drive": "Time with a known expression of the driver, and without one by "
    "cause. At most 30 drives, the lowest first.",
    "Availability over all drives": "A step for each drive.",
    "Expressions": "Time by the driver's expression after smoothing.",
    "Events": "Of all persons, over all drives.",
    "Time of a frame": "From taking a frame to its state, in the worker's process; workers share "
    "the machine.",
}


def report(
    identity: dict[str, Any],
    entries: Sequence[Entry],
    drives: Sequence[dict[str, Any]],
    against: dict[str, Any] | None = None,
) -> str:
    """Return the page.

    Args:
        identity: What decided the rows, as in ``run.json``.
        entries: Clips and their reports.
        drives: Rows as ``summarize`` returns them.
        against: Comparison with a second bundle, as ``compare`` returns it, or None.
    """
    parts = [facts(_facts(identity, entries, drives))]
    if against is not None:
        parts += comparison_parts(identity, against)
    figures = [picture(name, svg, _CAPTIONS[name]) for name, svg in draw(drives).items()]
    parts += ["<h2>Plots</h2>", pictures(figures)] if figures else []
    parts += _alerts(drives)
    parts += ["<h2>Drives</h2>", *_drives(drives), *_faults(entries)]
    return page("Recorded drives", parts)


def comparison_parts(identity: dict[str, Any], against: dict[str, Any]) -> list[str]:
    """Return the section about a second bundle."""
    other = identity.get("against") or {}
    values = {
        "second bundle": f"{other.get('variant')}, SHA-256 {other.get('bundle_sha256')}",
        "verdict": f"{against['verdict']}: {against['why']}",
        **{name: _interval(against["figures"][key], unit) for key, (name, unit) in _NAMES.items()},
        "intervals": against["method"],
    }
    parts = ["<h2>Comparison with a second bundle</h2>", facts(values)]
    if any(row["both_s"] > 0 for row in against["drives"]):
        parts.append(picture("Disagreement by drive", comparison(against), _DIFFER))
    head = ["drive/clip", "from s", "to s", "first", "second", "sure", "second sure"]
    rows = [_disagreement(item) for item in against["longest"]]
    return [*parts, "<h3>Longest disagreements</h3>", table(head, rows)] if rows else parts


_DIFFER = "At most 30 drives, the highest first."
_NAMES = {
    "different": ("differ where both know an expression", "%"),
    "availability": ("availability of the first", "%"),
    "availability_change": ("change of availability", "% points"),
    "events_per_hour_change": ("change of events an hour", ""),
    "changes_per_min_change": ("change of label changes a minute", ""),
}


def _interval(figure: dict[str, Any], unit: str) -> str:
    if figure["value"] is None:
        return "none"
    factor = 100 if unit else 1
    text = f"{factor * figure['value']:.3g}{f' {unit}' if unit else ''}"
    if figure["interval"] is None:
        return text
    low, high = (factor * value for value in figure["interval"])
    return f"{text}, 95 % interval {low:.3g} to {high:.3g}"


def _disagreement(item: dict[str, Any]) -> list[str]:
    return [
        printable(f"{item['drive']}/{item['clip']}")[:80],
        f"{item['start_s']:.2f}",
        f"{item['end_s']:.2f}",
        item["label"] or "unknown",
        item["label_against"] or "unknown",
        f"{item['confidence']:.2f}",
        f"{item['confidence_against']:.2f}",
    ]


def _facts(
    identity: dict[str, Any], entries: Sequence[Entry], drives: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    stream_s = sum(drive["stream_s"] for drive in drives)
    valid_s = sum(drive["valid_s"] for drive in drives)
    latency = merged([drive["latency"] for drive in drives])
    p50, p99 = quantile_ms(latency, 0.5), quantile_ms(latency, 0.99)
    return {
        "drives": f"{len(drives):,}",
        "clips": f"{len(entries):,}, {sum(r.status != 'ok' for _, r in entries):,} with a fault",
        "recorded": _duration(stream_s),
        "availability": _percent(valid_s / stream_s if stream_s else None),
        "time of a frame": None
        if p50 is None or p99 is None
        else f"p50 {p50:.3g} ms, p99 {p99:.3g} ms",
        "bundle": f"{identity.get('variant')}, SHA-256 {identity.get('bundle_sha256')}",
        "detector": identity.get("detector"),
        "version": identity.get("version"),
    }


def _drives(drives: Sequence[dict[str, Any]]) -> list[str]:
    shown = sorted(drives, key=lambda d: (d["availability"] is not None, d["availability"] or 0.0))
    head = [
        "drive",
        "clips",
        "faults",
        "recorded",
        "available",
        "most missing by",
        "first answer s",
    ]
    head += ["events/h", "changes/min", "p50 ms", "p99 ms"]
    rows = [_row(drive) for drive in shown[:_MOST_DRIVES]]
    more = f"<p>The first {_MOST_DRIVES} of {len(drives):,} drives.</p>"
    return [table(head, rows), more if len(drives) > _MOST_DRIVES else ""]


def _row(drive: dict[str, Any]) -> list[str]:
    missing = sorted(drive["missing_s"].items(), key=lambda item: (-item[1], item[0]))[:2]
    stream_s = drive["stream_s"]
    return [
        printable(drive["drive"])[:60],
        str(drive["clips"]),
        str(drive["failed"] + drive["partial"]),
        _duration(stream_s),
        _percent(drive["availability"]),
        ", ".join(f"{cause} {_percent(seconds / stream_s)}" for cause, seconds in missing),
        _number(drive["first_answer_s"]),
        _number(sum(drive["events_per_hour"].values()) if stream_s else None),
        _number(drive["flicker_per_min"]),
        _number(drive["p50_ms"]),
        _number(drive["p99_ms"]),
    ]


def _alerts(drives: Sequence[dict[str, Any]]) -> list[str]:
    """Return the section about the in-car rules, if any asked for an alert."""
    alerts = merged([drive["alerts"] for drive in drives])
    if not alerts:
        return []
    hours = sum(drive["stream_s"] for drive in drives) / 3600
    rows = [[rule, f"{count:,}", _number(count / hours)] for rule, count in alerts.items()]
    note = "Rules and their sources: how-to/score-drives of the documentation."
    return ["<h2>Alerts by rule</h2>", table(["rule", "alerts", "an hour"], rows), f"<p>{note}</p>"]


def _faults(entries: Sequence[Entry]) -> list[str]:
    faults = {
        printable(f"{clip.drive}/{clip.name}")[:120]: printable(f"{one.status}: {one.error}")
        for clip, one in entries
        if one.status != "ok"
    }
    if not faults:
        return []
    shown = dict(list(faults.items())[:_MOST_FAULTS])
    more = f"<p>The first {_MOST_FAULTS} of {len(faults):,}.</p>"
    more = more if len(faults) > _MOST_FAULTS else ""
    return ["<h2>Clips with a fault</h2>", facts(shown), more]


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _percent(share: float | None) -> str:
    return "none" if share is None else f"{share:.1%}"


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.3g}"
