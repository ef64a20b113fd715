"""Report of an evaluation by groups, as HTML and as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fer_edge.page import facts, page, picture, table
from fer_edge.training.reports import plots
from fer_edge.training.reports.group_tables import Report, marked, measures_of, notes, spread

_ROW_IN = 0.3
"""Height of a group in a picture, in inches."""


def group_page(evaluation: dict[str, Any]) -> str:
    """Return the result of ``evaluate_groups`` as one HTML file."""
    parts = [f"<p>{escape(evaluation['method'])}.</p>"]
    for report in evaluation["inputs"]:
        parts += [f"<h2>{escape(report['name'])}</h2>", f"<p>{escape(_about(report))}</p>"]
        for rows in report["by"]:
            parts += _one_column(report, rows)
    parts += ["<h2>Computed with</h2>", facts(evaluation["environment"])]
    return page("fer-edge evaluate, by groups", parts)


def group_sheet(reports: Sequence[Report]) -> bytes:
    """Return the picture of every column of every report as one PNG."""
    tables = [(report, rows) for report in reports for rows in report["by"]]
    heights = [_height(rows) for _, rows in tables]
    figure = Figure(figsize=(13, sum(heights)), layout="constrained")
    bands = figure.subfigures(len(tables), 1, squeeze=False, height_ratios=heights)[:, 0]
    for band, (report, rows) in zip(bands, tables, strict=True):
        band.suptitle(f"{report['name']}: {report['data']} by {rows['column']}")
        _draw(band, report, rows)
    return plots.data(figure, "png")


def _about(report: Report) -> str:
    row = report["overall"]
    fold = f", fold {report['fold']}" if report["fold"] else ""
    text = f"{row['pictures']:,} pictures of {report['data']}{fold}."
    if report["located"]:
        text += f" No face was found in {row['no_face']['count']:,}."
    if not report["labelled"]:
        text += " The data has no expression labels: answers are counted, none is judged."
    return text


def _one_column(report: Report, rows: dict[str, Any]) -> list[str]:
    groups = [*rows["groups"], {"value": "all", **report["overall"]}]
    heads = measures_of(report)
    body = [[marked(g), f"{g['faces']:,}", *(spread(g[key]) for _, key in heads)] for g in groups]
    figure = Figure(figsize=(13, _height(rows)), layout="constrained")
    _draw(figure, report, rows)
    drawing = picture(f"By {rows['column']}", plots.data(figure), "Dots with 95 % intervals, in %")
    parts = [
        f"<h3>By {escape(rows['column'])}</h3>",
        table([rows["column"], "faces", *(f"{head}, %" for head, _ in heads)], body),
        *(f"<p>{escape(note)}</p>" for note in notes(rows)),
        drawing,
    ]
    for key, title in (("answers", "Share answered by class, %"), ("recall", "Recall, %")):
        if key in report["overall"]:
            names = [name for name in report["labels"] if report["overall"][key][name]]
            cells = [[marked(g), *(spread(g[key][n]) for n in names)] for g in groups]
            parts += [f"<h4>{title}</h4>", table([rows["column"], *names], cells)]
    return parts


def _height(rows: dict[str, Any]) -> float:
    return 1.4 + _ROW_IN * (len(rows["groups"]) + 1)


def _draw(figure: Any, report: Report, rows: dict[str, Any]) -> None:
    """Draw a panel for each figure and each class, a row for each group."""
    groups = [*rows["groups"], {"value": "all", **report["overall"]}]
    panels = [(head, [g[key] for g in groups]) for head, key in measures_of(report)]
    key, words = ("recall", "recall of") if report["labelled"] else ("answers", "answered")
    for name in report["labels"]:
        if report["overall"][key][name]:
            panels.append((f"{words}\n{name}", [g[key][name] for g in groups]))
    axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for one, (title, values) in zip(axes, panels, strict=True):
        _panel(one, title, values)
    axes[0].set_yticks(
        range(len(groups)), [f"{g['value']}{' *' * g['few']} ({g['faces']:,})" for g in groups]
    )
    axes[0].set_ylim(len(groups) - 0.5, -0.5)
    axes[0].set_ylabel(f"{rows['column']} (faces)")


def _panel(axes: Axes, title: str, values: Sequence[dict[str, Any] | None]) -> None:
    for i, value in enumerate(values):
        if value is None:
            continue
        centre = 100 * float(value.get("share", value.get("mean", 0)))
        low, high = (100 * end for end in value["interval"] or (centre / 100,) * 2)
        colour = "black" if i + 1 == len(values) else "C0"
        axes.plot([low, high], [i, i], color=colour, lw=1.5)
        axes.plot([centre], [i], "o", color=colour, ms=4)
    axes.set_title(title, fontsize=9)
    axes.set_xlabel("%", fontsize=8)
    axes.tick_params(labelsize=8)
    axes.margins(x=0.15)
    axes.grid(axis="x", alpha=0.3)
