"""Report of a run: curves, recipe, data and held-out scores."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from fer_edge.atomic import write_file, write_files
from fer_edge.page import facts, page, picture, table
from fer_edge.preprocess import Image
from fer_edge.training.data.faces import LabelledFace
from fer_edge.training.evaluation.bootstrap import METHOD
from fer_edge.training.evaluation.evaluate import abstention, figures
from fer_edge.training.reports import plots
from fer_edge.training.reports.html import one_input, side_by_side

SAMPLES = 24
"""Training faces in the report."""
MISTAKES = 24
"""Largest number of wrong answers in the report."""
_CURVES_IN = (14, 4)
"""Width and height of the curves in inches."""


def epochs_of(recipe: dict[str, Any]) -> int:
    """Return the epochs of all phases of a recipe in run.json or a card."""
    fit = recipe["fit"]
    return int(fit["epochs"] + sum(phase["epochs"] for phase in fit.get("then", ())))


def draw_curves(metrics: Path, out: Path) -> None:
    """Draw the curves of metrics.jsonl to a PNG file."""
    write_file(out, plots.data(_curves(_rows(metrics)), "png"))


def write_run_report(
    run: Path,
    probabilities: npt.NDArray[np.floating[Any]],
    held_out: Sequence[LabelledFace],
    samples: Sequence[tuple[Image, str]] = (),
) -> None:
    """Write ``report.json`` and ``report.html`` into a run folder.

    Args:
        run: Run folder with ``run.json``, ``metrics.jsonl`` and ``best/card.json``.
        probabilities: Calibrated probabilities of the held-out faces, float ``[N, C]``, columns in
            the order of the card's labels.
        held_out: Held-out faces, N.
        samples: Training faces as augmented, grey or RGB, and their labels.
    """
    truth = [face.label for face in held_out]
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
        "mistakes": worst_mistakes(probabilities, held_out, labels),
        "method": METHOD,
    }
    pictures = [held_out[i].read()[:, :, ::-1] for i in _worst(probabilities, held_out, labels)]
    captions = [_mistake(row) for row in report["mistakes"]]
    wrong = list(zip(pictures, captions, strict=True))
    text = json.dumps(report, indent=1, allow_nan=False) + "\n"
    html_page = run_page(report, samples, wrong)
    write_files({run / "report.json": text.encode(), run / "report.html": html_page.encode()})


def worst_mistakes(
    probabilities: npt.NDArray[np.floating[Any]],
    faces: Sequence[LabelledFace],
    labels: Sequence[str],
) -> list[dict[str, Any]]:
    """Return the wrong answers with the highest confidence first, at most MISTAKES.

    Arguments are as for write_run_report. Each row has ``name``, ``label``, ``answer`` and
    ``confidence``.
    """
    return [
        {
            "name": faces[i].name,
            "label": faces[i].label,
            "answer": labels[int(probabilities[i].argmax())],
            "confidence": float(probabilities[i].max()),
        }
        for i in _worst(probabilities, faces, labels)
    ]


def _worst(
    probabilities: npt.NDArray[np.floating[Any]],
    faces: Sequence[LabelledFace],
    labels: Sequence[str],
) -> list[int]:
    """Return the places of the surest wrong answers. Names may repeat over data sets."""
    wrong = [
        i for i, face in enumerate(faces) if labels[int(probabilities[i].argmax())] != face.label
    ]
    return sorted(wrong, key=lambda i: -float(probabilities[i].max()))[:MISTAKES]


def _mistake(row: dict[str, Any]) -> str:
    return f"{row['label']}\nanswer {row['answer']} {row['confidence']:.0%}"


def run_page(
    report: dict[str, Any],
    samples: Sequence[tuple[Image, str]] = (),
    wrong: Sequence[tuple[Image, str]] = (),
) -> str:
    """Return the report of write_run_report as one HTML file.

    Args:
        report: Report of write_run_report.
        samples: Training faces as augmented, and their labels.
        wrong: Held-out faces with a wrong answer, RGB, and what to write above each.
    """
    held_out, recipe = report["held_out"], report["recipe"]
    curves = picture("Curves", plots.data(_curves(report["curves"])))
    return page(
        f"Run: {recipe['name']}",
        [
            f"<p>Best epoch {report['epoch']} of {epochs_of(recipe)}, temperature "
            f"{report['temperature']:.3f}. Epoch, temperature and threshold were selected on the "
            "held-out faces below, so these figures are optimistic. Evaluate the model with "
            "<code>fer-edge evaluate</code> on other faces. "
            f"Intervals: {report['method']}.</p>",
            "<h2>Curves</h2>",
            curves,
            "<h2>Held-out faces</h2>",
            *side_by_side([held_out]),
            *one_input(held_out),
            *_wrong(report.get("mistakes", []), wrong),
            *_gallery("Training faces, as augmented", samples),
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


def _wrong(rows: Sequence[dict[str, Any]], faces: Sequence[tuple[Image, str]]) -> list[str]:
    if not rows:
        return ["<h2>Worst mistakes</h2>", "<p>Every held-out face is answered correctly.</p>"]
    cells = [[r["name"], r["label"], r["answer"], f"{r['confidence']:.0%}"] for r in rows]
    return [
        "<h2>Worst mistakes</h2>",
        *([picture("Worst mistakes", plots.data(plots.gallery(faces)))] if faces else []),
        table(["picture", "label", "answer", "confidence"], cells),
    ]


def _gallery(title: str, faces: Sequence[tuple[Image, str]]) -> list[str]:
    if not faces:
        return []
    drawn = plots.data(plots.gallery(faces))
    return [f"<h2>{title}</h2>", picture(title, drawn)]


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
