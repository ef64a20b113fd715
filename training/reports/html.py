"""An evaluation as one HTML file, and the parts that a run's report has as well."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

from matplotlib.figure import Figure

from fer_edge.page import facts, page, picture, pictures, table
from fer_edge.training.reports import plots

Report = dict[str, Any]

_WHOLE = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy (macro recall)",
    "macro_precision": "macro precision",
    "macro_f1": "macro F1",
    "weighted_precision": "weighted precision",
    "weighted_f1": "weighted F1",
    "ece": "ECE",
    "nll": "NLL, nats",
}


def evaluation_page(found: dict[str, Any]) -> str:
    """What ``training.evaluation.evaluate.evaluate_all`` gives, for a browser."""
    reports = found["inputs"]
    where = f"{reports[0]['data']}, part {reports[0]['split'] or 'none'}"
    parts = [f"<p>{escape(where)}. Intervals: {escape(found['method'])}.</p>"]
    if found["refused"]:
        parts += [f'<p class="note">Not here: {escape(r["input"])}: {escape(r["why"])}</p>'
                  for r in found["refused"]]  # fmt: skip
    parts += ["<h2>Side by side</h2>" if len(reports) > 1 else "<h2>Figures</h2>",
              *side_by_side(reports), *_comparisons(found)]  # fmt: skip
    if len(reports) > 1:
        parts.append(_per_class_picture(reports))
    for report in reports:
        parts += [f"<h2>{escape(report['name'])}</h2>", *one_input(report)]
    parts += ["<h2>Computed with</h2>", facts(found["environment"])]
    return page("fer-edge evaluate", parts)


def side_by_side(reports: Sequence[Report]) -> list[str]:
    """One column for each input; with and without twins."""
    parts = []
    for key, title in (
        ("all", "Every face"),
        ("deduplicated", "Each picture once, none that was trained on"),
    ):
        if key not in reports[0]:
            continue
        if key != "all" and reports[0][key]["faces"] == reports[0]["all"]["faces"]:
            parts.append("<p>Each picture stands there once, and none was trained on.</p>")
            continue
        rows = [["faces", *(f"{r[key]['faces']:,}" for r in reports)]]
        for name, words in _WHOLE.items():
            rows.append([words, *(_with_interval(r[key], name) for r in reports)])
        if key == "all":
            rows.append(["mean AUC", *(_or_dash(r[key]["roc"]["macro_auc"]) for r in reports)])
        parts += [f"<h3>{title}</h3>",
                  table(["", *(r["name"] for r in reports)], rows)]  # fmt: skip
    return parts


def one_input(report: Report) -> list[str]:
    """Per class, confusion, the pictures, and what the abstention threshold does."""
    m, labels = report["all"], report["labels"]
    by_class = []
    for name in labels:
        row, interval = m["per_class"][name], m["intervals"]["per_class"][name]
        by_class.append(
            [
                name,
                *(_spread(row[k], interval[k]) for k in ("precision", "recall", "f1")),
                _or_dash(m["roc"]["per_class"][name]["auc"]),
                f"{row['support']:,}",
            ]
        )
    absent = [f"{name}: {row['reason']}" for name, row in m["roc"]["per_class"].items()
              if "reason" in row]  # fmt: skip
    a = report["abstention"]
    right = "none" if a["accuracy"] is None else f"{a['accuracy']:.1%}"
    return [
        table(["class", "precision", "recall", "F1", "AUC", "faces"], by_class),
        *([f"<p>No ROC curve: {escape('; '.join(absent))}.</p>"] if absent else []),
        f"<p>Answers with a confidence of at least {a['threshold']:.2f}: {a['coverage']:.1%} of "
        f"the faces, {right} of them right.</p>",
        pictures([picture(title, svg) for title, svg in plots.of_one(report).items()]),
        "<h3>Confusion, faces (rows: label, columns: answer)</h3>",
        table(["", *labels], [[n, *(f"{v:,}" for v in row)]
                              for n, row in zip(labels, m["confusion"], strict=True)]),
        "<h3>Accuracy against coverage</h3>",
        table(["answered", *(f"{c['coverage']:.0%}" for c in m["coverage"])],
              [["right", *(f"{c['accuracy']:.1%}" for c in m["coverage"])],
               ["confidence from", *(f"{c['threshold']:.2f}" for c in m["coverage"])]]),
    ]  # fmt: skip


def _comparisons(found: dict[str, Any]) -> list[str]:
    if not found["comparisons"]:
        return []
    rows = [
        [
            row["of"],
            f"{row['agreement']:.2%}",
            *(f"{100 * row[k]['change']:+.2f} "
              f"[{100 * row[k]['interval'][0]:+.2f}, {100 * row[k]['interval'][1]:+.2f}]"
              for k in ("accuracy", "macro_f1")),
        ]
        for row in found["comparisons"]
    ]  # fmt: skip
    first = found["comparisons"][0]["with"]
    return [
        f"<h3>Against {escape(first)}, face by face, in points</h3>",
        table(["", "same answer", "accuracy", "macro F1"], rows),
        "<p><small>An interval that holds 0 means: no difference is shown on these faces."
        "</small></p>",
    ]


def _per_class_picture(reports: Sequence[Report]) -> str:
    figure = Figure(figsize=(10, 4), layout="constrained")
    plots.per_class(figure.subplots(), reports)
    return picture("F1 by class", plots.data(figure), "F1 by class, with intervals")


def _with_interval(m: dict[str, Any], name: str) -> str:
    return _spread(m[name], m["intervals"].get(name), "\n")


def _spread(value: float, interval: Sequence[float] | None, between: str = " ") -> str:
    if interval is None:
        return f"{value:.4f}"
    return f"{value:.4f}{between}[{interval[0]:.3f}, {interval[1]:.3f}]"


def _or_dash(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"
