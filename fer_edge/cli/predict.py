"""``fer-edge predict``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

import fer_edge
from fer_edge.cli.options import print_json
from fer_edge.errors import FerEdgeError, InputError


@click.command()
@click.argument("images", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--bundle", type=click.Path(path_type=Path), help="A .fer folder [shipped model].")
@click.option("--target", help="Run this target and no other.")
@click.option("--precision", help="Run this precision and no other.")
@click.option("--box", nargs=4, type=int, help="x y width height of the face in each image.")
@click.option("--json", "as_json", is_flag=True, help="JSON on standard output.")
def predict(
    images: tuple[Path, ...],
    bundle: Path | None,
    target: str | None,
    precision: str | None,
    box: tuple[int, int, int, int] | None,
    as_json: bool,
) -> None:
    """Say the expression of each face crop. Example: fer-edge predict driver.png"""
    failed: FerEdgeError | None = None
    rows: list[dict[str, Any]] = []
    with fer_edge.Predictor(bundle, target, precision) as predictor:
        for path in images:
            try:
                answer = predictor(path, box)
            except InputError as error:
                failed = error
                rows.append({"image": str(path), "error": str(error)})
                if not as_json:
                    click.echo(f"{path}: {error}", err=True)
                continue
            rows.append({"image": str(path), **answer.as_dict()})
            if not as_json:
                doubt = f"  uncertain: {answer.reason}" if answer.uncertain else ""
                click.echo(f"{path}: {answer.label} {answer.confidence:.2f}{doubt}")
                for name, share in sorted(answer.probabilities.items(), key=lambda kv: -kv[1]):
                    click.echo(f"    {name:10s} {share:6.1%} {'█' * round(30 * share)}")
    if as_json:
        print_json(rows)
    if failed is not None:
        sys.exit(failed.exit_code)
