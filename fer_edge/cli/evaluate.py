"""``fer-edge evaluate``."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path
from typing import Any

import click

from fer_edge.cli.early_checks import check_data, check_model
from fer_edge.cli.options import (
    check_outs,
    data_option,
    detector_option,
    json_option,
    out_option,
    print_json,
    quiet_option,
    split_option,
    variant_options,
    write_outs,
)
from fer_edge.shipped import checkpoint_path


@click.command()
@click.argument(
    "sources", nargs=-1, required=True, type=checkpoint_path, metavar="CHECKPOINT|BUNDLE..."
)
@data_option("Evaluate on these labelled faces.", required=True)
@split_option
@variant_options
@click.option(
    "--near-duplicates",
    is_flag=True,
    help="Report without faces that are copies of a training face in another crop or tone too.",
)
@click.option(
    "--by",
    "columns",
    multiple=True,
    metavar="COLUMN",
    help="Report by the groups of this column of DATA, such as gender. Repeatable.",
)
@click.option(
    "--fold",
    metavar="K/N",
    help="With --by, use fold K of N, chosen by each picture's name: 0/3 is the first third.",
)
@click.option(
    "--find-faces",
    is_flag=True,
    help="With --by, find the face of each picture first; DATA need not be face crops.",
)
@detector_option
@out_option("Write the report to this file, .json, .html or .png. Repeatable.", multiple=True)
@quiet_option
@json_option
def evaluate(
    sources: tuple[Path, ...],
    data: Path,
    split: str | None,
    target: str | None,
    precision: str | None,
    near_duplicates: bool,
    columns: tuple[str, ...],
    fold: str | None,
    find_faces: bool,
    detector: Path | None,
    outs: tuple[Path, ...],
    as_json: bool,
) -> None:
    """Measure accuracy, ROC and calibration on labelled faces.

    \b
    Example: fer-edge evaluate runs/driver/best --data fer2013/ -o report.html
             fer-edge evaluate runs/a/best runs/b/best --data fer2013/
             fer-edge evaluate driver.fer --target all --data fer2013/
             fer-edge evaluate driver.fer --data f.csv --split none --by gender

    Of a bundle, the variant that Predictor chooses is evaluated; --target all evaluates every
    variant that runs here. Each further model is compared with the first, face by face.
    With --by, DATA needs no labels: abstention, confidence and answers are reported by group.
    The page 'Evaluation figures' of the documentation defines each figure.
    """
    check_outs(outs, (".json", ".html", ".png"))
    for source in sources:
        check_model(source)
    check_data([data])
    if columns and near_duplicates:
        raise click.UsageError("--near-duplicates does not go with --by")
    if columns:
        _evaluate_groups(
            sources,
            data,
            columns,
            split,
            fold,
            (find_faces, detector),
            target,
            precision,
            outs,
            as_json,
        )
        return
    if fold or find_faces or detector:
        raise click.UsageError("--fold, --find-faces and --detector go with --by")

    from fer_edge.progress_bar import progress
    from fer_edge.training.evaluation.evaluate import evaluate_all

    with progress() as (_, step):
        report = evaluate_all(
            sources,
            data,
            split,
            target=target,
            precision=precision,
            near_duplicates=near_duplicates,
            step=step,
        )
    write_outs({out: _rendered(report, out.suffix) for out in outs})
    if as_json:
        print_json(report)
    else:
        _print(report)


def _evaluate_groups(
    sources: tuple[Path, ...],
    data: Path,
    columns: tuple[str, ...],
    split: str | None,
    fold: str | None,
    finding: tuple[bool, Path | None],
    target: str | None,
    precision: str | None,
    outs: tuple[Path, ...],
    as_json: bool,
) -> None:
    """Report by groups; ``finding`` is whether to find faces, and the detector's file."""
    from fer_edge.progress_bar import progress
    from fer_edge.training.data.folds import Fold
    from fer_edge.training.evaluation.groups import evaluate_groups
    from fer_edge.training.evaluation.locate import require_detector
    from fer_edge.training.reports.group_tables import WIDTH, lines

    chosen = None if fold is None else Fold.parse(fold)
    detector = require_detector(finding[1]) if any(finding) else None
    with progress() as (_, step):
        report = evaluate_groups(
            sources,
            data,
            columns,
            split,
            fold=chosen,
            detector=detector,
            target=target,
            precision=precision,
            step=step,
        )
    write_outs({out: _rendered_groups(report, out.suffix) for out in outs})
    if as_json:
        print_json(report)
        return
    for model in report["inputs"]:
        for line in lines(model):
            click.echo(line)
    for line in textwrap.wrap(f"[low, high]: {report['method']}.", WIDTH):
        click.echo(line)


def _rendered(report: dict[str, Any], suffix: str) -> str | bytes:
    if suffix == ".json":
        return json.dumps(report, indent=1, allow_nan=False) + "\n"
    if suffix == ".html":
        from fer_edge.training.reports.html import evaluation_page

        return evaluation_page(report)
    from fer_edge.training.reports.plots import sheet

    return sheet(report["inputs"])


def _print(report: dict[str, Any]) -> None:
    from fer_edge.training.reports.html import trained_on_note

    for model in report["inputs"]:
        _print_model(model)
    for model in report["inputs"]:
        if note := trained_on_note(model):
            click.echo(f"warning: {note}", err=True)
    for row in report["comparisons"]:
        change, (low, high) = row["accuracy"]["change"], row["accuracy"]["interval"]
        click.echo(
            f"{row['of']} against {row['with']}: accuracy {100 * change:+.2f} points "
            f"[{100 * low:+.2f}, {100 * high:+.2f}], the same answer for {row['agreement']:.2%}"
        )
    for row in report["refused"]:
        click.echo(f"does not run here: {row['input']}: {row['why']}")
    click.echo(f"[low, high]: {report['method']}.")


def _print_model(model: dict[str, Any]) -> None:
    click.echo(model["name"])
    keys = [key for key in ("all", "deduplicated", "near_deduplicated") if key in model]
    width = max(13, *map(len, keys))
    for key in keys:
        m = model[key]
        low, high = m["intervals"]["accuracy"]
        click.echo(
            f"{key:{width}s} {m['faces']:6,} faces  accuracy {m['accuracy']:.4f} "
            f"[{low:.4f}, {high:.4f}]  balanced {m['balanced_accuracy']:.4f}  "
            f"macro F1 {m['macro_f1']:.4f}  weighted F1 {m['weighted_f1']:.4f}  "
            f"ECE {m['ece']:.4f}"
        )
    for name, row in model["all"]["per_class"].items():
        auc = model["all"]["roc"]["per_class"][name]["auc"]
        click.echo(
            f"    {name:10s} recall {row['recall']:.3f}  precision {row['precision']:.3f}  "
            f"F1 {row['f1']:.3f}  AUC {'    –' if auc is None else f'{auc:.3f}'}  "
            f"n {row['support']}"
        )
    a = model["abstention"]
    right = "" if a["accuracy"] is None else f", {a['accuracy']:.1%} of them correct"
    click.echo(
        f"Answered (threshold {a['threshold']:.2f}): {a['coverage']:.1%} of the faces{right}"
    )


def _rendered_groups(report: dict[str, Any], suffix: str) -> str | bytes:
    if suffix == ".json":
        return json.dumps(report, indent=1, allow_nan=False) + "\n"
    from fer_edge.training.reports.groups import group_page, group_sheet

    return group_page(report) if suffix == ".html" else group_sheet(report["inputs"])
