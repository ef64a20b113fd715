"""Plots of evaluations and runs, for PNG, HTML and the model card."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from typing import Any, Literal

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text

from fer_edge.preprocess import Image

Report = dict[str, Any]
"""Report of one input: ``labels``, ``all`` (evaluate.figures), ``abstention``."""

_SIDE_IN = 4.6
"""Side of a plot in inches."""
_DPI = 110
_IN_A_ROW = 8
"""Faces in a row of a gallery."""


def confusion(axes: Axes, report: Report) -> None:
    """Draw the share of each label's faces (rows) with each answer (columns)."""
    labels = report["labels"]
    shares = [[n / max(sum(row), 1) for n in row] for row in report["all"]["confusion"]]
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for i, row in enumerate(shares):
        for j, share in enumerate(row):
            colour = "white" if share > 0.5 else "black"
            axes.text(j, i, f"{share:.2f}", ha="center", va="center", fontsize=8, color=colour)
    axes.set_xticks(range(len(labels)), labels, rotation=40, ha="right")
    axes.set_yticks(range(len(labels)), labels)
    axes.set(xlabel="answer", ylabel="label", title="Confusion")


def gallery(faces: Sequence[tuple[Image, str]]) -> Figure:
    """Draw faces in rows of eight.

    Args:
        faces: Faces, grey ``[H, W]`` or RGB ``[H, W, 3]``, and what to write above each.
    """
    rows = -(-len(faces) // _IN_A_ROW)
    figure = Figure(figsize=(1.5 * _IN_A_ROW, 1.85 * rows), layout="constrained")
    for axes in (grid := figure.subplots(rows, _IN_A_ROW, squeeze=False)).flat:
        axes.set_axis_off()
    for axes, (image, title) in zip(grid.flat, faces, strict=False):
        axes.imshow(image, cmap="gray", vmin=0, vmax=255)
        axes.set_title(title, fontsize=8)
    return figure


def calibration(axes: Axes, report: Report) -> None:
    """Draw accuracy against confidence, and the faces in each bin."""
    m = report["all"]
    bins = [b for b in m["reliability"] if b["faces"]]
    most = max(b["faces"] for b in bins)
    x = [b["confidence"] for b in bins]
    heights = [0.4 * b["faces"] / most for b in bins]
    axes.bar(x, heights, width=0.05, color="lightgrey", label=f"faces (highest: {most:,})")
    axes.plot([0, 1], [0, 1], "--", color="grey", label="perfect")
    axes.plot(x, [b["accuracy"] for b in bins], "o-", label="accuracy")
    axes.set(xlabel="confidence", ylabel="accuracy", xlim=(0, 1), ylim=(0, 1.02))
    axes.set_title(f"Calibration, ECE {m['ece']:.4f}")
    axes.legend(loc="upper left", fontsize=8)
    axes.grid(alpha=0.3)


def roc(axes: Axes, report: Report) -> None:
    """Draw the ROC curve of each class; the legend explains gaps."""
    curves = report["all"]["roc"]
    axes.plot([0, 1], [0, 1], "--", color="grey", lw=0.8)
    for name, row in curves["per_class"].items():
        known = row["auc"] is not None
        label = f"{name} {row['auc']:.3f}" if known else f"{name}: {row['reason']}"
        axes.plot(*zip(*row["points"] or [(0, 0)], strict=True), label=label, lw=1.4)
    mean = "" if curves["macro_auc"] is None else f", mean AUC {curves['macro_auc']:.3f}"
    axes.set(xlabel="false positive rate", ylabel="true positive rate", title=f"ROC{mean}")
    axes.legend(loc="lower right", fontsize=8)
    axes.grid(alpha=0.3)


def coverage(axes: Axes, report: Report) -> None:
    """Draw accuracy against coverage, withholding the least confident answers first."""
    rows, a = report["all"]["coverage"], report["abstention"]
    axes.plot([c["coverage"] for c in rows], [c["accuracy"] for c in rows], "o-")
    axes.axvline(a["coverage"], color="grey", ls="--", label=f"threshold {a['threshold']:.2f}")
    axes.set(xlabel="share of faces answered", ylabel="accuracy")
    axes.set_title("Accuracy against coverage")
    axes.legend(fontsize=8)
    axes.grid(alpha=0.3)


def per_class(axes: Axes, reports: Sequence[Report]) -> None:
    """Draw F1 of each class for each input, with its interval."""
    labels = reports[0]["labels"]
    width = 0.8 / len(reports)
    for k, report in enumerate(reports):
        intervals = [_interval(report, name) for name in labels]
        shown = [i for i, interval in enumerate(intervals) if interval]
        heights = [report["all"]["per_class"][labels[i]]["f1"] for i in shown]
        ends = [interval for interval in intervals if interval]
        errors = [
            [max(h - low, 0) for h, (low, _) in zip(heights, ends, strict=True)],
            [max(high - h, 0) for h, (_, high) in zip(heights, ends, strict=True)],
        ]
        at = [i + (k - (len(reports) - 1) / 2) * width for i in shown]
        style = {"lw": 1, "ecolor": "#444"}
        name = report.get("name")
        axes.bar(at, heights, width=0.9 * width, yerr=errors, label=name, error_kw=style)
    axes.set_xticks(range(len(labels)), labels)
    axes.set(xlabel="label", ylabel="F1", ylim=(0, 1))
    axes.grid(axis="y", alpha=0.3)
    if len(reports) > 1:
        axes.legend(fontsize=8, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=3)


_CURVES = {
    "loss, nats": {
        "train_loss": "training loss (augmented)",
        "held_nll": "held-out NLL",
        "held_calibrated_nll": "held-out NLL, calibrated",
    },
    "accuracy, share of faces": {
        "held_accuracy": "held-out accuracy",
        "held_balanced_accuracy": "balanced accuracy",
    },
    "learning rate": {"lr": "of the epoch's last step"},
}
"""Curves of a run by axis: key in metrics.jsonl and label."""


def curves(figure: Figure, rows: Sequence[dict[str, Any]]) -> None:
    """Draw loss, held-out accuracy and learning rate by epoch."""
    left, middle, right = figure.subplots(1, 3)
    epochs = [row["epoch"] for row in rows]
    marker = "o" if len(rows) < 15 else None
    for axes, (ylabel, keys) in zip((left, middle, right), _CURVES.items(), strict=True):
        for key, label in keys.items():
            if key in rows[0]:
                axes.plot(epochs, [row[key] for row in rows], label=label, marker=marker, ms=3)
        axes.set(xlabel="epoch", ylabel=ylabel)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.ticklabel_format(axis="y", useOffset=False)
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)


OF_ONE: dict[str, Callable[[Axes, Report], None]] = {
    "Confusion": confusion,
    "Calibration": calibration,
    "ROC": roc,
    "Coverage": coverage,
}
"""Plots of each input, by title."""


def of_one(report: Report) -> dict[str, bytes]:
    """Return the SVG of each plot of one input, by title."""
    plots = {}
    for title, draw in OF_ONE.items():
        figure = Figure(figsize=(1.15 * _SIDE_IN, _SIDE_IN), layout="constrained")
        draw(figure.subplots(), report)
        plots[title] = data(figure)
    return plots


def sheet(reports: Sequence[Report]) -> bytes:
    """Return all plots as one PNG, with a row for each input."""
    width = len(OF_ONE) * _SIDE_IN
    figure = Figure(figsize=(width, _SIDE_IN * len(reports) + 0.4), layout="constrained")
    bands = figure.subfigures(len(reports), 1, squeeze=False)[:, 0]
    for band, report in zip(bands, reports, strict=True):
        m = report["all"]
        band.suptitle(
            f"{report['name']}: {m['faces']:,} faces, accuracy {m['accuracy']:.2%}, "
            f"macro F1 {m['macro_f1']:.4f}"
        )
        for axes, draw in zip(band.subplots(1, len(OF_ONE)), OF_ONE.values(), strict=True):
            draw(axes, report)
    return data(figure, "png")


def data(figure: Figure, form: Literal["svg", "png"] = "svg") -> bytes:
    """Return the figure as a file; equal figures give equal bytes.

    Labels and names may have dollars, which matplotlib takes for formulas otherwise.
    """
    for text in figure.findobj(Text):
        text.set_parse_math(False)
    out = io.BytesIO()
    with rc_context({"svg.hashsalt": "fer_edge"}):
        no_date = {"Date": None} if form == "svg" else None
        figure.savefig(out, format=form, dpi=_DPI, metadata=no_date)
    return out.getvalue()


def _interval(report: Report, label: str) -> list[float] | None:
    row = report["all"]["intervals"]["per_class"].get(label)
    interval: list[float] | None = row["f1"] if row else None
    return interval
