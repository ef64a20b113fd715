"""Figures of a report: distribution, batch sizes, timeline, Pareto front."""

from __future__ import annotations

import io
from operator import itemgetter
from typing import Any, Literal

import numpy as np

from fer_edge.benchmarks.measure.rows import row_name, unpack
from fer_edge.libraries import needed

_SIZE_IN = (8.0, 4.2)
_POINTS = 3_000
"""Most points of a timeline: more than a screen has columns."""


def pictures(report: dict[str, Any], form: Literal["svg", "png"] = "svg") -> dict[str, bytes]:
    """Draw the figures that the rows of a report have data for.

    Args:
        report: Report of a measurement.
        form: File format.

    Returns:
        Files by title.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    with needed("matplotlib", "bench"):
        from matplotlib import rc_context
        from matplotlib.figure import Figure
    drawn = {}
    for title, draw in _DRAWERS.items():
        figure = Figure(figsize=_SIZE_IN, layout="constrained")
        if draw(figure, report["rows"]):
            data = io.BytesIO()
            # Without a date and random ids, the same report gives the same bytes.
            with rc_context({"svg.hashsalt": title}):
                figure.savefig(
                    data, format=form, dpi=110, metadata={"Date": None} if form == "svg" else None
                )
            drawn[title] = data.getvalue()
    return drawn


def _distribution(figure: Any, rows: list[dict[str, Any]]) -> bool:
    """Draw the share of calls that took longer, on log axes, which show the tail."""
    first = rows[0]["batch"]
    shown = [row for row in rows if row.get("latencies_ns") and row["batch"] == first]
    if not shown:
        return False
    axes = figure.subplots()
    for row in shown:
        ms = np.sort(unpack(row["latencies_ns"])) / 1e6
        longer = 1 - np.arange(len(ms)) / len(ms)
        axes.step(ms, longer, where="pre", label=row_name(row))
    axes.set(xscale="log", yscale="log")
    axes.set(xlabel=f"latency at batch {first}, ms", ylabel="share of calls that took longer")
    _plain(axes.xaxis)
    axes.grid(alpha=0.3)
    figure.legend(loc="outside upper center", ncols=3, fontsize=8)
    return True


def _by_batch(figure: Any, rows: list[dict[str, Any]]) -> bool:
    shown = [row for row in rows if row.get("p50_ms") and row.get("throughput_hz")]
    if len({row["batch"] for row in shown}) < 2:
        return False
    latency, throughput = figure.subplots(1, 2)
    for name in dict.fromkeys(row["variant"] for row in shown):
        own = sorted((row for row in shown if row["variant"] == name), key=itemgetter("batch"))
        sizes = [row["batch"] for row in own]
        latency.plot(sizes, [row["p50_ms"] for row in own], marker="o", label=name)
        throughput.plot(sizes, [row["throughput_hz"] for row in own], marker="o", label=name)
    latency.set(ylabel="p50 latency of a call, ms", yscale="log")
    throughput.set(ylabel="faces per second", ylim=(0, None))
    ticks = sorted({row["batch"] for row in shown})
    for axes in (latency, throughput):
        axes.set(xlabel="faces in a call", xscale="log")
        axes.set_xticks(ticks, [str(tick) for tick in ticks])
        axes.minorticks_off()
        axes.grid(alpha=0.3)
    _plain(latency.yaxis)
    handles, names = latency.get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper center", ncols=3, fontsize=8)
    return True


def _timeline(figure: Any, rows: list[dict[str, Any]]) -> bool:
    """Draw latency over time for a sustained run, else over the calls."""
    first = rows[0]["batch"]
    shown = [
        r for r in rows if r["batch"] == first and (r.get("timeline") or r.get("latencies_ns"))
    ]
    if not shown:
        return False
    axes = figure.subplots()
    for row in shown:
        if "timeline" in row:
            at = [point["at_s"] for point in row["timeline"]]
            axes.plot(at, [point["median_ms"] for point in row["timeline"]], label=row_name(row))
        else:
            ms = unpack(row["latencies_ns"]) / 1e6
            every = -(-len(ms) // _POINTS)
            axes.plot(np.arange(0, len(ms), every), ms[::every], lw=0.7, label=row_name(row))
    over_time = "timeline" in shown[0]
    axes.set(yscale="log")
    axes.set_xlabel("time since the start, s" if over_time else "call, in order")
    axes.set_ylabel("median latency, ms" if over_time else f"latency at batch {first}, ms")
    _plain(axes.yaxis)
    axes.grid(alpha=0.3)
    figure.legend(loc="outside upper center", ncols=3, fontsize=8)
    return True


def _pareto(figure: Any, rows: list[dict[str, Any]]) -> bool:
    first = rows[0]["batch"]
    shown = [row for row in rows if "pareto" in row and row["batch"] == first]
    if not shown:
        return False
    axes = figure.subplots()
    for row in shown:
        style = {"marker": "o", "s": 60} if row["pareto"] else {"marker": "x", "s": 40}
        axes.scatter(row["p50_ms"], 100 * row["accuracy"], **style)
        left = row["p50_ms"] > 0.6 * max(other["p50_ms"] for other in shown)
        axes.annotate(
            row["variant"],
            (row["p50_ms"], 100 * row["accuracy"]),
            xytext=(-6 if left else 6, 4),
            textcoords="offset points",
            ha="right" if left else "left",
            fontsize=8,
        )
    front = sorted((row["p50_ms"], 100 * row["accuracy"]) for row in shown if row["pareto"])
    axes.step(*zip(*front, strict=True), where="post", color="grey", lw=0.8, zorder=0)
    axes.set(xlabel=f"p50 latency at batch {first}, ms", ylabel="accuracy, %")
    axes.margins(0.2)
    axes.set_xlim(left=0)
    axes.grid(alpha=0.3)
    return True


def _plain(axis: Any) -> None:
    """Label a log axis with plain numbers instead of powers of ten."""
    from matplotlib.ticker import LogLocator, NullFormatter

    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter(NullFormatter())


_DRAWERS = {
    "Latency distribution": _distribution,
    "Latency and throughput by batch size": _by_batch,
    "Timeline": _timeline,
    "Accuracy against latency": _pareto,
}
