"""``fer-edge embed``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from fer_edge.cli.early_checks import check_data, check_model
from fer_edge.cli.options import (
    PATH,
    check_needs,
    check_outs,
    data_option,
    json_option,
    out_option,
    print_json,
    quiet_option,
    split_option,
    variant_options,
    write_out,
)
from fer_edge.errors import DataError, LimitError
from fer_edge.shipped import bundle_path
from fer_edge.shown import printable


@click.command()
@click.argument("images", nargs=-1, type=PATH)
@click.option(
    "--model",
    default="default",
    type=bundle_path,
    metavar="MODEL",
    show_default=True,
    help="Run this checkpoint or bundle: a folder, or a shipped model, default or fast.",
)
@data_option("Embed these labelled faces instead of images.")
@split_option
@variant_options
@out_option("Write the embeddings to this file, .npz or .parquet.")
@click.option(
    "--check", is_flag=True, help="Check that faces with the same expression are neighbours."
)
@quiet_option
@json_option
def embed(
    images: tuple[Path, ...],
    model: Path,
    data: Path | None,
    split: str | None,
    target: str | None,
    precision: str | None,
    out: Path | None,
    check: bool,
    as_json: bool,
) -> None:
    """Write an embedding for each face of images or data sets.

    \b
    Example: fer-edge embed crops/ driver.png -o faces.npz
             fer-edge embed --data fer2013/ --split val -o val.parquet
             fer-edge embed --check --data fer2013/

    IMAGES are files or folders of them. An image that cannot be read does not stop the others;
    exit code 3 says that there is one. --check searches the faces of PART among those of
    train, so DATA needs both. It exits with 8 if the neighbours are no better than chance.
    """
    check_needs("split", "data")
    if check and (data is None or out is not None or images or split is None):
        raise click.UsageError("expected --check with --data that has parts, without images and -o")
    if not check and out is None:
        raise click.UsageError("expected -o FILE, the file to write the embeddings to")
    if out is not None:
        check_outs((out,), (".npz", ".parquet"))
    check_model(model)
    check_data([data])

    from fer_edge.progress_bar import progress
    from fer_edge.training.data.picture_files import passed_over_files
    from fer_edge.training.evaluation import embed as module

    if check:
        assert data is not None
        assert split is not None
        with progress() as (_, step):
            report = module.check(model, data, split, target=target, precision=precision, step=step)
        _print_check(report, as_json)
        return
    assert out is not None
    with progress() as (_, step):
        faces = module.embed(
            model, images, data, split, target=target, precision=precision, step=step
        )
    write_out(out, faces.npz() if out.suffix == ".npz" else faces.parquet())
    count, width = faces.embeddings.shape
    left_out = [{"image": image.name, "error": image.why} for image in faces.left_out]
    if as_json:
        facts = {"file": str(out), "faces": count, "width": width, "model": faces.model}
        print_json({**facts, "left_out": left_out, "passed_over": faces.passed_over})
    else:
        for image in faces.left_out:
            click.echo(f"{printable(image.name)}: {image.why}", err=True)
        if sentences := passed_over_files(faces.passed_over, "images"):
            click.echo(printable(sentences), err=True)
        click.echo(f"{out}: {count:,} faces, {width} numbers each")
    if left_out:
        sys.exit(DataError.exit_code)


def _print_check(report: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(report)
    else:
        click.echo(
            f"{report['queries']:,} faces of {report['split']} among {report['gallery']:,} of "
            f"train, by cosine; {report['neighbours']} neighbours"
        )
        for name, row in report["figures"].items():
            low, high = row["interval"]
            click.echo(
                f"    {name:16s} {row['value']:.4f} [{low:.4f}, {high:.4f}]  "
                f"chance {row['chance']:.4f}"
            )
        click.echo(f"    accuracy of the classifier itself: {report['classifier_accuracy']:.4f}")
        click.echo(f"[low, high]: {report['method']}.")
    if not report["holds"]:
        raise LimitError(
            "faces with the same expression are no closer than chance. "
            "Do not search or cluster with these embeddings"
        )
