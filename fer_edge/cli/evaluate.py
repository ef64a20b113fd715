"""``fer-edge evaluate``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from fer_edge.cli.options import PATH, check_forms, part, print_json, write_out


@click.command()
@click.argument("sources", nargs=-1, required=True, type=PATH, metavar="CHECKPOINT|BUNDLE...")
@click.option("--data", required=True, type=PATH, help="Labelled faces.")
@click.option("--split", default="val", show_default=True, help="train, val, test, or none.")
@click.option("--target", help="Which target of a bundle; all: each variant that runs here.")
@click.option("--precision", help="Which precision of a bundle.")
@click.option("-o", "--out", "outs", multiple=True, type=PATH,
              help="Write the report here: .json, .html or .png; may be repeated.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="JSON on standard output.")
def evaluate(
    sources: tuple[Path, ...],
    data: Path,
    split: str,
    target: str | None,
    precision: str | None,
    outs: tuple[Path, ...],
    as_json: bool,
) -> None:
    """Accuracy, per-class figures, ROC and calibration of checkpoints and bundles.

    \b
    Example: fer-edge evaluate runs/edge-default/best --data fer2013/ -o report.html
             fer-edge evaluate runs/a/best runs/b/best --data fer2013/
             fer-edge evaluate driver.fer --target all --data fer2013/
    Several are compared with the first, face by face. docs/evaluation.md defines each figure.
    """
    from fer_edge.progress import progress
    from fer_edge.training.evaluation.evaluate import evaluate_all as work

    check_forms(outs, (".json", ".html", ".png"))
    with progress() as (_, step):
        found = work(sources, data, part(split), target=target, precision=precision, step=step)
    for out in outs:
        write_out(out, _rendered(found, out.suffix))
    if as_json:
        print_json(found)
        return
    for report in found["inputs"]:
        _print_input(report)
    for row in found["comparisons"]:
        change, (low, high) = row["accuracy"]["change"], row["accuracy"]["interval"]
        click.echo(
            f"{row['of']} against {row['with']}: accuracy {100 * change:+.2f} points "
            f"[{100 * low:+.2f}, {100 * high:+.2f}], the same answer for {row['agreement']:.2%}"
        )
    for row in found["refused"]:
        click.echo(f"not here: {row['input']}: {row['why']}")
    click.echo(f"[low, high]: {found['method']}.")


def _rendered(found: dict[str, Any], suffix: str) -> str | bytes:
    if suffix == ".json":
        return json.dumps(found, indent=1, allow_nan=False) + "\n"
    if suffix == ".html":
        from fer_edge.training.reports.html import evaluation_page

        return evaluation_page(found)
    from fer_edge.training.reports.plots import sheet

    return sheet(found["inputs"])


def _print_input(report: dict[str, Any]) -> None:
    click.echo(report["name"])
    for key in ("all", "deduplicated"):
        m = report[key]
        low, high = m["intervals"]["accuracy"]
        click.echo(
            f"{key:13s} {m['faces']:6,} faces  accuracy {m['accuracy']:.4f} "
            f"[{low:.4f}, {high:.4f}]  balanced {m['balanced_accuracy']:.4f}  "
            f"macro F1 {m['macro_f1']:.4f}  weighted F1 {m['weighted_f1']:.4f}  "
            f"ECE {m['ece']:.4f}"
        )
    for name, row in report["all"]["per_class"].items():
        auc = report["all"]["roc"]["per_class"][name]["auc"]
        click.echo(
            f"    {name:10s} recall {row['recall']:.3f}  precision {row['precision']:.3f}  "
            f"F1 {row['f1']:.3f}  AUC {'    –' if auc is None else f'{auc:.3f}'}  "
            f"n {row['support']}"
        )
    a = report["abstention"]
    click.echo(
        f"Answers with confidence of at least {a['threshold']:.2f}: {a['coverage']:.1%} of the "
        f"faces, {a['accuracy'] or 0:.1%} of them right"
    )
