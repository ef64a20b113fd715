"""``fer-edge predict``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

import fer_edge
from fer_edge.cli.options import PATH, bundle_option, json_option, print_json, variant_options
from fer_edge.errors import FerEdgeError, InputError
from fer_edge.results import Prediction


@click.command()
@click.argument("images", nargs=-1, required=True, type=PATH)
@bundle_option
@variant_options
@click.option(
    "--box",
    nargs=4,
    type=int,
    metavar="X Y W H",
    help="Crop this face box, in pixels, from each image (default: the complete image).",
)
@json_option
def predict(
    images: tuple[Path, ...],
    bundle: Path | None,
    target: str | None,
    precision: str | None,
    box: tuple[int, int, int, int] | None,
    as_json: bool,
) -> None:
    """Print the expression in each image of a face.

    \b
    Example: fer-edge predict driver.png
             fer-edge predict *.png --bundle driver.fer --json

    An image that cannot be read does not stop the others; the exit code is then 3.
    """
    failed: FerEdgeError | None = None
    rows: list[dict[str, Any]] = []
    with fer_edge.Predictor(bundle, target, precision) as predictor:
        for path in images:
            try:
                prediction = predictor(path, box)
            except InputError as error:
                failed = error
                rows.append({"image": str(path), "error": str(error)})
                if not as_json:
                    click.echo(f"{path}: {error}", err=True)
                continue
            rows.append({"image": str(path), **prediction.as_dict()})
            if not as_json:
                _print(path, prediction)
    if as_json:
        print_json(rows)
    if failed is not None:
        sys.exit(failed.exit_code)


def _print(path: Path, prediction: Prediction) -> None:
    doubt = f"  uncertain: {prediction.reason}" if prediction.uncertain else ""
    click.echo(f"{path}: {prediction.label} {prediction.confidence:.2f}{doubt}")
    for name, share in sorted(prediction.probabilities.items(), key=lambda item: -item[1]):
        click.echo(f"    {name:10s} {share:6.1%} {'█' * round(30 * share)}")
