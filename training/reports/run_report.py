"""What a run leaves behind for people: curves, and a report of what was trained on what, and how
well it does on the faces that were held out."""

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


def draw_curves(metrics: Path, out: Path) -> None:
    """Loss, held-out accuracy and learning rate by epoch, as PNG."""
    write_file(out, plots.data(_curves(_rows(metrics)), "png"))


def write_run_report(
    run: Path, probabilities: npt.NDArray[np.floating[Any]], truth: Sequence[str]
) -> None:
    """Write ``report.json`` and ``report.html`` into a run folder that holds ``run.json``,
    ``metrics.jsonl`` and ``best/card.json``.

    probabilities: ``[N, C]`` of the held-out faces, calibrated, columns in the order of the
    card's labels. truth: their N canonical names.
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
    """What ``write_run_report`` writes as JSON, for a browser."""
    held, recipe = report["held_out"], report["recipe"]
    curves = picture("Curves", plots.data(_curves(report["curves"])))
    return page(
        f"Run: {recipe['name']}",
        [
            f"<p>Best epoch {report['epoch']} of {recipe['fit']['epochs']}, temperature "
            f"{report['temperature']:.3f}. Epoch, temperature and threshold were chosen on the "
            "held-out faces below, so their figures flatter: judge a model with "
            "<code>fer-edge evaluate</code> on faces that chose nothing. "
            f"Intervals: {report['method']}.</p>",
            "<h2>Curves</h2>",
            curves,
            "<h2>Held-out faces</h2>",
            *side_by_side([held]),
            *one_input(held),
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
    """``{"fit": {"lr": 1}}`` as ``{"fit.lr": 1}``."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        nested = isinstance(value, dict) and value
        found |= _flat(value, f"{before}{key}.") if nested else {f"{before}{key}": value}
    return found
