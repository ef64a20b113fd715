"""``fer-edge train``."""

from __future__ import annotations

import json
import os
from pathlib import Path

import click

from fer_edge.cli.data import with_broken


@click.command()
@click.argument("recipe")
@click.option("--data", required=True, multiple=True, type=click.Path(path_type=Path),
              help="Labelled faces; several are merged.")  # fmt: skip
@click.option("--broken", type=click.Choice(["fail", "skip"]), default="fail", show_default=True,
              help="Pictures that cannot be read: an error, or left out and reported.")  # fmt: skip
@click.option("-o", "--run", type=click.Path(path_type=Path), help="Run folder [runs/RECIPE].")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="E.g. fit.epochs=3.")
@click.option("--weights", type=click.Path(path_type=Path),
              help="What the backbone starts from, in place of model.pretrained.")  # fmt: skip
@click.option("--resume", is_flag=True, help="Go on from the last whole epoch.")
@click.option("--licence", help="What the data may be used for; goes into the card.")
def train(
    recipe: str,
    data: tuple[Path, ...],
    broken: str,
    run: Path | None,
    overrides: tuple[str, ...],
    weights: Path | None,
    resume: bool,
    licence: str | None,
) -> None:
    """Train a recipe (a file, or the name of a shipped one) on labelled faces.

    \b
    Example: fer-edge train training/recipes/edge-default.yaml --data fer2013/
    DATA is any form of docs/reference/data.md: folders, CSV, parquet, HDF5, hf:NAME, with options behind
    an @. The checkpoint is RUN/best.
    Several processes: torchrun --nproc-per-node 2 -m fer_edge.cli train RECIPE --data DATA
    """
    from fer_edge.progress import progress
    from fer_edge.training.config.recipe import load_recipe
    from fer_edge.training.loop.train import train as work

    if weights is not None:
        path = json.dumps(str(weights))
        overrides = (*overrides, f"model.weights={path}", "model.pretrained=false")
    loaded = load_recipe(recipe, overrides)
    with progress() as (say, step):
        best = work(
            loaded,
            with_broken(data, broken),
            run or Path("runs") / loaded.name,
            resume=resume,
            licence=licence,
            say=say,
            step=step,
        )
    if os.environ.get("RANK", "0") == "0":  # of the processes that torchrun started, the first
        click.echo(best)
