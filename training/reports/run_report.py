"""Report of a run: curves, recipe, data and held-out scores."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from fer_edge.atomic import write_file
from fer_edge.page import facts, page, picture
from fer_edge.training.evaluation.bootstrap import METHOD
from fer_edge.training.evaluation.evaluate import abstention, figures
from fer_edge.training.reports import plots
from fer_edge.training.reports.html import one_input, side_by_side

_CURVES_IN = (14, 4)
"""Width and height of the curves in inches."""


def draw_curves(metrics: Path, out: Path) -> None:
    """Draw the curves of metrics.jsonl to a PNG file."""
    write_file(out, plots.data(_curves(_rows(metrics)), "png"))


def write_run_report(
    run: Path, probabilities: npt.NDArray[np.floating[Any]], truth: Sequence[str]
) -> None:
    """Write ``report.json`` and ``report.html`` into a run folder.

    Args:
        run: Run folder with ``run.json``, ``metrics.jsonl`` and ``best/card.json``.
        probabilities: Calibrated probabilities of the held-out faces, float ``[N, C]``, columns in
            the order of the card's labels.
        truth: Label of each held-out face, N names.
    """
    card = json.loads((run / "best" / "card.json").read_text("utf-8"))
    labels = card["model"]["labels"]
    report = {
        **json.loads((run / "run.json").read_text("utf-8")),
        "model": card["model"],
        "weights": card["weights"],
        "weights_from": card.get("weights_from"),
        "epoch": card["epoch"],
        "temperature": card["temperature"],
        "licences": card["licences"],
        "curves": _rows(run / "metrics.jsonl"),
        "held_out": {
            "name": "held-out faces",
            "labels": labels,
            "all": figures(probabilities, truth, labels),
            "abstention": abstention(probabilities, truth, labels, card["abstain_below"]),
        },
        "method": METHOD,
    }
    text = json.dumps(report, indent=1, allow_nan=False) + "\n"
    write_file(run / "report.json", text.encode())
    write_file(run / "report.html", run_page(report).encode())


def run_page(report: dict[str, Any]) -> str:
    """Return the report of write_run_report as one HTML file."""
    held_out, recipe = report["held_out"], report["recipe"]
    curves = picture("Curves", plots.data(_curves(report["curves"])))
    return page(
        f"Run: {recipe['name']}",
        [
            f"<p>Best epoch {report['epoch']} of {recipe['fit']['epochs']}, temperature "
            f"{report['temperature']:.3f}. Epoch, temperature and threshold were selected on the "
            "held-out faces below, so these figures are optimistic. Evaluate the model with "
            "<code>fer-edge evaluate</code> on other faces. "
            f"Intervals: {report['method']}.</p>",
            "<h2>Curves</h2>",
            curves,
            "<h2>Held-out faces</h2>",
            *side_by_side([held_out]),
            *one_input(held_out),
            "<h2>Recipe, as resolved</h2>",
            facts(_flat(recipe)),
            "<h2>Data</h2>",
            facts(_flat(report["data"]) | _flat({"licence": report["licences"]})),
            "<h2>Weights</h2>",
            facts(_flat({**report["weights"], "started from": report["weights_from"]})),
            "<h2>Environment</h2>",
            facts(_flat(report["environment"])),
        ],
    )


def _curves(rows: Sequence[dict[str, Any]]) -> Figure:
    figure = Figure(figsize=_CURVES_IN, layout="constrained")
    plots.curves(figure, rows)
    return figure


def _rows(metrics: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in metrics.read_text("utf-8").splitlines()]


def _flat(values: dict[str, Any], before: str = "") -> dict[str, Any]:
    """Return ``{"fit": {"lr": 1}}`` as ``{"fit.lr": 1}``."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        nested = isinstance(value, dict) and value
        flat |= _flat(value, f"{before}{key}.") if nested else {f"{before}{key}": value}
    return flat
