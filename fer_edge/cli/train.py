"""``fer-edge train``."""

from __future__ import annotations

import json
import os
from pathlib import Path

import click

from fer_edge.cli.options import PATH, broken_option, data_option


@click.command()
@click.argument("recipe")
@data_option(
    "Train on these labelled faces. Repeatable: the sets are merged.", required=True, multiple=True
)
@broken_option
@click.option(
    "-o",
    "--run",
    type=PATH,
    metavar="FOLDER",
    help="Write the run to this folder (default: runs/RECIPE).",
)
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Override this recipe key, e.g. fit.epochs=3. Repeatable.",
)
@click.option(
    "--weights",
    metavar="NAME|FILE",
    help="Start the backbone from these weights: a file, a checkpoint folder, or default, fast "
    "(shipped), imagenet (timm's).",
)
@click.option("--resume", is_flag=True, help="Continue after the last complete epoch.")
@click.option("--licence", metavar="TEXT", help="Record in the card what the data may be used for.")
def train(
    recipe: str,
    data: tuple[Path, ...],
    broken: str,
    run: Path | None,
    overrides: tuple[str, ...],
    weights: str | None,
    resume: bool,
    licence: str | None,
) -> None:
    """Train a recipe on labelled faces.

    \b
    Example: fer-edge train training/recipes/edge-default.yaml --data fer2013/

    RECIPE is a file, or the name of a shipped recipe. DATA is any form of
    docs/reference/data.md: folders, CSV, parquet, HDF5, hf:NAME, with options after an @.
    The best checkpoint is RUN/best.

    \b
    To train with several processes:
      torchrun --nproc-per-node 2 -m fer_edge train RECIPE --data DATA
    """
    from fer_edge.progress_bar import progress
    from fer_edge.training.config.recipe import load_recipe
    from fer_edge.training.data.dataset_spec import with_broken
    from fer_edge.training.loop.train import train as run_training

    if weights is not None:
        path = json.dumps(weights)
        overrides = (*overrides, f"model.weights={path}", "model.pretrained=false")
    loaded = load_recipe(recipe, overrides)
    with progress() as (say, step):
        best = run_training(
            loaded,
            with_broken(data, broken),
            run or Path("runs") / loaded.name,
            resume=resume,
            licence=licence,
            say=say,
            step=step,
        )
    if os.environ.get("RANK", "0") == "0":  # torchrun sets RANK: only the first process prints
        click.echo(best)
