"""``fer-edge embed``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from fer_edge.cli.options import PATH, check_forms, part, print_json, write_out
from fer_edge.errors import LimitError
from fer_edge.shipped import DEFAULT_BUNDLE


@click.command()
@click.argument("pictures", nargs=-1, type=PATH)
@click.option("--model", default=DEFAULT_BUNDLE, type=PATH,
              help="A checkpoint folder or a bundle [shipped model].")  # fmt: skip
@click.option("--data", type=PATH, help="Labelled faces, in the place of pictures.")
@click.option("--split", default="val", show_default=True, help="train, val, test, or none.")
@click.option("--target", help="Which target of a bundle.")
@click.option("--precision", help="Which precision of a bundle.")
@click.option("-o", "--out", type=PATH, help="Write the embeddings here: .npz or .parquet.")
@click.option("--check", is_flag=True,
              help="Do faces of one expression lie near each other?")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="JSON on standard output.")
def embed(
    pictures: tuple[Path, ...],
    model: Path,
    data: Path | None,
    split: str,
    target: str | None,
    precision: str | None,
    out: Path | None,
    check: bool,
    as_json: bool,
) -> None:
    """Write the embedding of each face: pictures, folders of them, or a data set.

    \b
    Example: fer-edge embed crops/ driver.png -o faces.npz
             fer-edge embed --data fer2013/ --split val -o val.parquet
             fer-edge embed --check --data fer2013/
    --check searches the faces of val among those of train (DATA needs both); exit code 8 where
    that is no better than chance.
    """
    from fer_edge.progress import progress
    from fer_edge.training.evaluation import embed as module

    if check:
        if data is None or out is not None or pictures:
            raise click.UsageError("--check takes --data, and neither pictures nor -o")
        with progress() as (_, step):
            found = module.check(model, data, split, target=target, precision=precision, step=step)
        _print_check(found, as_json)
        return
    if out is None:
        raise click.UsageError("say with -o where the embeddings shall go")
    check_forms((out,), (".npz", ".parquet"))
    with progress() as (_, step):
        faces = module.embed(
            model, pictures, data, part(split), target=target, precision=precision, step=step
        )
    write_out(out, faces.npz() if out.suffix == ".npz" else faces.parquet())
    count, width = faces.embeddings.shape
    if as_json:
        print_json({"file": str(out), "faces": count, "width": width, "model": faces.model})
    else:
        click.echo(f"{out}: {count:,} faces, {width} numbers each")


def _print_check(found: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(found)
    else:
        click.echo(
            f"{found['queries']:,} faces of {found['split']} among {found['gallery']:,} of train, "
            f"by cosine; {found['neighbours']} neighbours"
        )
        for name, row in found["figures"].items():
            low, high = row["interval"]
            click.echo(
                f"    {name:16s} {row['value']:.4f} [{low:.4f}, {high:.4f}]  "
                f"chance {row['chance']:.4f}"
            )
        click.echo(f"    the classifier itself is right for {found['classifier_accuracy']:.4f}")
        click.echo(f"[low, high]: {found['method']}.")
    if not found["holds"]:
        raise LimitError("faces of one expression are not nearer to each other than by chance")
