"""``fer-edge adapt``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from fer_edge.cli.early_checks import check_data, check_model
from fer_edge.cli.options import (
    data_option,
    detector_option,
    json_option,
    out_option,
    part_option,
    print_json,
    quiet_option,
    variant_options,
)
from fer_edge.option_types import FiniteRange
from fer_edge.shipped import bundle_path


@click.command()
@click.argument("bundle", type=bundle_path, metavar="BUNDLE")
@data_option("Adapt to these faces of the camera, with labels or without.", required=True)
@part_option("none")
@click.option("--unlabelled", is_flag=True, help="Take DATA as pictures; folders are not labels.")
@click.option(
    "--answer",
    type=FiniteRange(0, 1, min_open=True),
    metavar="SHARE",
    help="Answer this share of such faces, the surest ones (default: fitted to the labels).",
)
@click.option(
    "--find-faces", is_flag=True, help="Find the face of each picture; DATA need not be crops."
)
@detector_option
@variant_options
@click.option("--name", metavar="TEXT", help="Name the adapted bundle (default: OUT's stem).")
@click.option("--bundle-version", metavar="TEXT", help="Give it this version (default: BUNDLE's).")
@out_option("Write the adapted bundle here, NAME.fer.", required=True)
@quiet_option
@json_option
def adapt(
    bundle: Path,
    data: Path,
    split: str | None,
    unlabelled: bool,
    answer: float | None,
    find_faces: bool,
    detector: Path | None,
    target: str | None,
    precision: str | None,
    name: str | None,
    bundle_version: str | None,
    out: Path,
    as_json: bool,
) -> None:
    """Recalibrate a bundle for a camera, without training.

    \b
    Example: fer-edge adapt default --data my_camera/ -o my-camera.fer
             fer-edge adapt default --data crops/ --answer 0.7 -o my-camera.fer

    A few hundred labelled faces set temperature and threshold. The networks stay, byte by byte:
    every chip gives the same answers as before, at another confidence. Figures after adapting
    are of faces that were left out of the fit.
    """
    check_model(bundle)
    check_data([data])

    from fer_edge.progress_bar import progress
    from fer_edge.training.evaluation.adapt import adapt as adapt_bundle
    from fer_edge.training.evaluation.locate import require_detector

    names = {"name": name, "version": bundle_version}
    with progress() as (say, step):
        report = adapt_bundle(
            bundle,
            data,
            out,
            split,
            unlabelled=unlabelled,
            answer=answer,
            detector=require_detector(detector) if find_faces or detector else None,
            target=target,
            precision=precision,
            names={key: value for key, value in names.items() if value is not None},
            say=say,
            step=step,
        )
    if as_json:
        print_json(report)
    else:
        _print(report, out)


def _print(report: dict[str, Any], out: Path) -> None:
    labels = "with labels" if report["labelled"] else "without labels"
    click.echo(f"{report['faces']:,} faces of {report['data']} {labels}, on {report['variant']}")
    click.echo(f"{'':18s}{'before':22s}after")
    for key, form in (("temperature", "{:.3f}"), ("abstain_below", "{:.4f}")):
        before, after = (form.format(report[key][when]) for when in ("before", "after"))
        click.echo(f"{key.replace('_', ' '):18s}{before:22s}{after}")
    if "ece" in report:
        _row("ECE", *(_value(report["ece"][when]) for when in ("before", "after")))
        _row("NLL", *(f"{report['nll'][when]:.4f}" for when in ("before", "after")))
    for key in ("answered", "right_if_answered", "unfamiliar"):
        if key in report:
            _row(key.replace("_", " "), *(_share(report[key][w]) for w in ("before", "after")))
    if "ece" in report:
        change = report["nll"]["change"]
        low, high = change["interval"]
        click.echo(
            f"NLL changes by {change['value']:+.4f} [{low:+.4f}, {high:+.4f}]. Figures after"
        )
        click.echo("adapting are of faces that were left out. [low, high]: 95 %.")
    click.echo(f"wrote {out}")


def _row(name: str, before: str, after: str) -> None:
    click.echo(f"{name:18s}{before:22s}{after}")


def _value(figure: dict[str, Any]) -> str:
    low, high = figure["interval"]
    return f"{figure['value']:.4f} [{low:.3f}, {high:.3f}]"


def _share(figure: dict[str, Any] | None) -> str:
    if figure is None:
        return "none"
    low, high = figure["interval"]
    return f"{figure['share']:.1%} [{100 * low:.1f}, {100 * high:.1f}]"
