"""HTML report of an evaluation, and parts shared with a run's report."""

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


def evaluation_page(evaluation: dict[str, Any]) -> str:
    """Return the result of ``evaluate_all`` as one HTML file."""
    reports = evaluation["inputs"]
    where = f"{reports[0]['data']}, part {reports[0]['split'] or 'none'}"
    parts = [f"<p>{escape(where)}. Intervals: {escape(evaluation['method'])}.</p>"]
    for refused in evaluation["refused"]:
        text = f"Does not run here: {refused['input']}: {refused['why']}"
        parts.append(f'<p class="note">{escape(text)}</p>')
    for report in reports:
        if note := trained_on_note(report):
            parts.append(f'<p class="note">{escape(note)}.</p>')
    title = "Side by side" if len(reports) > 1 else "Figures"
    parts += [f"<h2>{title}</h2>", *side_by_side(reports), *_comparisons(evaluation)]
    if len(reports) > 1:
        parts.append(_per_class_picture(reports))
    for report in reports:
        parts += [f"<h2>{escape(report['name'])}</h2>", *one_input(report)]
    parts += ["<h2>Computed with</h2>", facts(evaluation["environment"])]
    return page("fer-edge evaluate", parts)


def side_by_side(reports: Sequence[Report]) -> list[str]:
    """Return tables with one column for each input, with and without duplicates."""
    parts = []
    for key, title in (
        ("all", "Every face"),
        ("deduplicated", "Each image once, without images of the train part"),
        ("near_deduplicated", "The same without near duplicates: other crops and tones"),
    ):
        if key not in reports[0]:
            continue
        if key == "deduplicated" and reports[0][key]["faces"] == reports[0]["all"]["faces"]:
            parts.append(f"<p>No image is a duplicate{_train_part(reports[0])}.</p>")
            continue
        rows = [["faces", *(f"{r[key]['faces']:,}" for r in reports)]]
        for name, words in _WHOLE.items():
            rows.append([words, *(_with_interval(r[key], name) for r in reports)])
        if key == "all":
            rows.append(["mean AUC", *(_or_dash(r[key]["roc"]["macro_auc"]) for r in reports)])
        parts += [f"<h3>{title}</h3>", table(["", *(r["name"] for r in reports)], rows)]
    return parts


def _train_part(report: Report) -> str:
    if report["split"] == "train":
        return ""
    if report["train_part"]:
        return ", and none is in the train part"
    return "; the data has no train part to compare with"


def trained_on_note(report: Report) -> str:
    """Return a warning if the report's faces are training faces, else ""."""
    if not report.get("trained_on"):
        return ""
    return (
        f"{report['name']} was trained on these faces: its figures do not hold for others. Split "
        "the data before training, with 'fer-edge data split' or 'fer-edge new'"
    )


def one_input(report: Report) -> list[str]:
    """Return tables and plots of one input: classes, confusion, coverage, abstention."""
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
    curves = m["roc"]["per_class"]
    absent = [f"{name}: {row['reason']}" for name, row in curves.items() if "reason" in row]
    a = report["abstention"]
    correct = "none" if a["accuracy"] is None else f"{a['accuracy']:.1%}"
    confusion = zip(labels, m["confusion"], strict=True)
    return [
        table(["class", "precision", "recall", "F1", "AUC", "faces"], by_class),
        *([f"<p>No ROC curve: {escape('; '.join(absent))}.</p>"] if absent else []),
        f"<p>Answered (threshold {a['threshold']:.2f}): {a['coverage']:.1%} of the faces, "
        f"{correct} of them correct.</p>",
        pictures([picture(title, svg) for title, svg in plots.of_one(report).items()]),
        "<h3>Confusion, faces (rows: label, columns: answer)</h3>",
        table(["", *labels], [[name, *(f"{v:,}" for v in row)] for name, row in confusion]),
        "<h3>Accuracy against coverage</h3>",
        table(*coverage_rows(m["coverage"])),
    ]


def coverage_rows(coverage: Sequence[dict[str, float]]) -> tuple[list[str], list[list[str]]]:
    """Return head and rows of the table of accuracy against coverage."""
    return (
        ["answered", *(f"{row['coverage']:.0%}" for row in coverage)],
        [
            ["correct", *(f"{row['accuracy']:.1%}" for row in coverage)],
            ["lowest confidence", *(f"{row['threshold']:.2f}" for row in coverage)],
        ],
    )


def _comparisons(evaluation: dict[str, Any]) -> list[str]:
    comparisons = evaluation["comparisons"]
    if not comparisons:
        return []
    rows = [
        [row["of"], f"{row['agreement']:.2%}", _points(row["accuracy"]), _points(row["macro_f1"])]
        for row in comparisons
    ]
    return [
        f"<h3>Difference from {escape(comparisons[0]['with'])}, in percentage points</h3>",
        table(["", "agreement", "accuracy", "macro F1"], rows),
        "<p><small>An interval that contains 0 shows no difference on these faces.</small></p>",
    ]


def _points(difference: dict[str, Any]) -> str:
    low, high = difference["interval"]
    return f"{100 * difference['change']:+.2f} [{100 * low:+.2f}, {100 * high:+.2f}]"


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
