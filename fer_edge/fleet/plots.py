"""Plots of a run over many drives."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from typing import Any

from fer_edge.fleet.summary import merged
from fer_edge.fleet.tally import bucket_ms
from fer_edge.libraries import needed

Drives = Sequence[dict[str, Any]]

_WIDTH_IN, _HEIGHT_IN = 8.0, 4.2
_MOST_BARS = 30
"""Most drives that get a bar of their own, those of the lowest availability first."""
_MOST_CAUSES = 7


def pictures(drives: Drives) -> dict[str, bytes]:
    """Draw the plots that the drives have data for.

    Args:
        drives: Rows as ``summarize`` returns them.

    Returns:
        SVG files by title. The same drives give the same bytes.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    with needed("matplotlib", "fleet"):
        from matplotlib.figure import Figure
    drawn = {}
    seen = [drive for drive in drives if drive["stream_s"] > 0]
    for title, draw in _DRAWERS.items():
        figure = Figure(figsize=(_WIDTH_IN, _HEIGHT_IN), layout="constrained")
        if seen and draw(figure, seen):
            drawn[title] = _svg(figure)
    return drawn


def _svg(figure: Any) -> bytes:
    """Return a figure as SVG; the same bytes for the same figure."""
    import matplotlib as mpl

    data = io.BytesIO()
    with mpl.rc_context({"svg.hashsalt": "fer_edge"}):
        figure.savefig(data, format="svg", metadata={"Date": None})
    return data.getvalue()


def _availability(figure: Any, drives: Drives) -> bool:
    """Draw a bar for each drive: time with an answer, and without one by cause."""
    shown = sorted(drives, key=lambda drive: (drive["availability"], drive["drive"]))[:_MOST_BARS]
    figure.set_figheight(1.6 + 0.26 * max(len(shown), 3))
    axes = figure.subplots()
    names = [_short(drive["drive"]) for drive in shown]
    left = [0.0] * len(shown)
    for cause, color in _colors(shown):
        shares = [
            100 * (d["valid_s"] if cause == _KNOWN else _missing(d, cause, shown)) / d["stream_s"]
            for d in shown
        ]
        axes.barh(range(len(shown)), shares, left=left, color=color, label=cause, height=0.8)
        left = [a + b for a, b in zip(left, shares, strict=True)]
    axes.set_yticks(range(len(shown)), names, fontsize=8)
    axes.invert_yaxis()
    axes.set(xlabel="share of the time, %", ylabel="drive", xlim=(0, 100))
    axes.grid(axis="x", alpha=0.3)
    figure.legend(loc="outside upper center", ncols=4, fontsize=8)
    return True


_KNOWN, _OTHER = "known expression", "other causes"


def _causes(drives: Drives) -> list[str]:
    sums = merged([drive["missing_s"] for drive in drives])
    return sorted(sums, key=lambda cause: (-sums[cause], cause))


def _missing(drive: dict[str, Any], cause: str, drives: Drives) -> float:
    if cause != _OTHER:
        return float(drive["missing_s"].get(cause, 0.0))
    return float(sum(drive["missing_s"].get(c, 0.0) for c in _causes(drives)[_MOST_CAUSES:]))


def _colors(drives: Drives) -> list[tuple[str, str]]:
    causes = _causes(drives)
    names = causes[:_MOST_CAUSES] + ([_OTHER] if len(causes) > _MOST_CAUSES else [])
    palette = ["C7", "C1", "C3", "C4", "C5", "C6", "C8", "C9"]
    return [(_KNOWN, "C2"), *zip(names, palette, strict=False)]


def _distribution(figure: Any, drives: Drives) -> bool:
    """Draw the share of drives below each availability, once bars would be too many."""
    if len(drives) <= _MOST_BARS:
        return False
    axes = figure.subplots()
    shares = sorted(100 * drive["availability"] for drive in drives)
    axes.step(shares, [100 * (i + 1) / len(shares) for i in range(len(shares))], where="post")
    axes.set(xlabel="availability, %", ylabel="drives at or below, %", xlim=(0, 100), ylim=(0, 100))
    axes.grid(alpha=0.3)
    return True


def _expressions(figure: Any, drives: Drives) -> bool:
    seconds = merged([drive["label_s"] for drive in drives])
    return _bars(
        figure, {k: v / 60 for k, v in seconds.items()}, "time of the driver, min", "expression"
    )


def _events(figure: Any, drives: Drives) -> bool:
    hours = sum(drive["stream_s"] for drive in drives) / 3600
    counts = merged([drive["events"] for drive in drives])
    return _bars(figure, {k: n / hours for k, n in counts.items()}, "events an hour", "event")


def _bars(figure: Any, values: dict[str, float], unit: str, kind: str) -> bool:
    if not values:
        return False
    axes = figure.subplots()
    names = sorted(values, key=lambda name: (-values[name], name))
    axes.barh([_short(name) for name in names], [values[name] for name in names], height=0.7)
    axes.invert_yaxis()
    axes.set(xlabel=unit, ylabel=kind)
    axes.grid(axis="x", alpha=0.3)
    return True


def _latency(figure: Any, drives: Drives) -> bool:
    """Draw the share of frames that took longer, on log axes, which show the tail."""
    latency = merged([drive["latency"] for drive in drives])
    total = sum(latency.values())
    if not total:
        return False
    from matplotlib.ticker import LogLocator, NullFormatter

    axes = figure.subplots()
    left, ms, longer = total, [], []
    for bucket in sorted(map(int, latency)):
        left -= latency[str(bucket)]
        ms.append(bucket_ms(bucket))
        longer.append(left / total)
    axes.step(ms, [max(share, 0.5 / total) for share in longer], where="post")
    axes.set(xscale="log", yscale="log")
    axes.set(xlabel="time of a frame, ms (without decoding)")
    axes.set(ylabel="share of frames that took longer")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.grid(alpha=0.3)
    return True


def _short(name: str) -> str:
    """Return a name that fits beside a bar; matplotlib takes dollars for formulas."""
    plain = name if len(name) <= 28 else f"{name[:13]}…{name[-14:]}"
    return plain.replace("$", r"\$")


def comparison(against: dict[str, Any]) -> bytes:
    """Draw the share of time in which two bundles differ, for each drive."""
    from matplotlib.figure import Figure

    rows = [row for row in against["drives"] if row["both_s"] > 0]
    rows.sort(key=lambda row: (-row["differ_s"] / row["both_s"], row["drive"]))
    shown = rows[:_MOST_BARS]
    figure = Figure(figsize=(_WIDTH_IN, 1.4 + 0.26 * max(len(shown), 3)), layout="constrained")
    axes = figure.subplots()
    shares = [100 * row["differ_s"] / row["both_s"] for row in shown]
    axes.barh(range(len(shown)), shares, color="C3", height=0.8)
    axes.set_yticks(range(len(shown)), [_short(row["drive"]) for row in shown], fontsize=8)
    axes.invert_yaxis()
    axes.set(xlabel="time in which both know an expression and differ, %", ylabel="drive")
    axes.set(xlim=(0, None))
    axes.grid(axis="x", alpha=0.3)
    return _svg(figure)


_DRAWERS: dict[str, Callable[[Any, Drives], bool]] = {
    "Availability by drive": _availability,
    "Availability over all drives": _distribution,
    "Expressions": _expressions,
    "Events": _events,
    "Time of a frame": _latency,
}
