"""``fer-edge train``."""

from __future__ import annotations

import json
import os
from pathlib import Path

import click
from click.shell_completion import CompletionItem

from fer_edge.cli.early_checks import check_data, check_run
from fer_edge.cli.options import PATH, broken_option, data_option, quiet_option
from fer_edge.cli.train_bundle import check_bundle, evaluate_and_convert
from fer_edge.shipped import MODELS


def _recipes(_ctx: click.Context, _param: click.Parameter, word: str) -> list[CompletionItem]:
    """Complete the names of the shipped recipes, and files."""
    import fer_edge.training

    folder = Path(fer_edge.training.__path__[0]) / "recipes"
    return _complete(sorted(path.stem for path in folder.glob("*.yaml")), word)


def _weights(_ctx: click.Context, _param: click.Parameter, word: str) -> list[CompletionItem]:
    """Complete the short names of weights, and files."""
    return _complete([*MODELS, "imagenet"], word)


def _complete(names: list[str], word: str) -> list[CompletionItem]:
    shipped = [CompletionItem(name) for name in names if name.startswith(word)]
    return [*shipped, CompletionItem(word, type="file")]


def _beside(recipe: str, source: str) -> Path:
    """Return a data set of a recipe: a path from the recipe's folder, or hf:NAME."""
    from fer_edge.training.data.dataset_spec import HUB

    return Path(source) if source.startswith(HUB) else Path(recipe).parent / source


@click.command()
@click.argument("recipe", shell_complete=_recipes)
@data_option(
    "Train on these labelled faces (default: data.sources of the recipe). Repeatable: the sets are "
    "merged.",
    multiple=True,
)
@broken_option
@click.option(
    "-o",
    "--run",
    "--out",
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
    shell_complete=_weights,
    metavar="NAME|FILE",
    help="Start the backbone from these weights: a file, a checkpoint folder, a shipped model "
    "(default or fast, with its network and input), or imagenet (timm's).",
)
@click.option("--resume", is_flag=True, help="Continue after the last complete epoch.")
@click.option(
    "--bundle",
    type=PATH,
    metavar="NAME.fer",
    help="Then evaluate, and convert to this new bundle in fp32 for the engines of this machine.",
)
@click.option(
    "--licence",
    metavar="TEXT",
    help="Record in the card what the data may be used for. --resume keeps it.",
)
@quiet_option
def train(
    recipe: str,
    data: tuple[Path, ...],
    broken: str,
    run: Path | None,
    overrides: tuple[str, ...],
    weights: str | None,
    resume: bool,
    bundle: Path | None,
    licence: str | None,
) -> None:
    """Train a recipe on labelled faces.

    \b
    Example: fer-edge train edge-default --data fer2013/
             fer-edge train finetune --data drivers/ --bundle drivers.fer

    RECIPE is a file, or the name of a shipped recipe. DATA is any form of
    the page 'Data formats': folders, CSV, parquet, HDF5, hf:NAME, with options after an @.
    The best checkpoint is RUN/best.

    \b
    To train with several processes:
      torchrun --nproc-per-node 2 -m fer_edge train RECIPE --data DATA
    """
    from fer_edge.training.config.recipe import load_recipe
    from fer_edge.training.config.start_weights import IMAGENET, weights_file
    from fer_edge.training.data.dataset_spec import with_broken

    if weights is not None:
        overrides = (*overrides, f"model.weights={json.dumps(weights)}", "model.pretrained=false")
    notes: list[str] = []
    loaded = load_recipe(recipe, overrides, notes.append)
    sources = data or tuple(_beside(recipe, source) for source in loaded.data.sources)
    if not sources:
        raise click.UsageError("expected --data FOLDER, the labelled faces to train on")
    folder = run or Path("runs") / loaded.name
    check_data(sources)
    check_data([Path(source) for source in loaded.data.unlabelled])
    check_run(folder, resume)
    if loaded.model.weights not in (None, IMAGENET):
        weights_file(str(loaded.model.weights))
    if bundle is not None:
        check_bundle(bundle)
    specs = with_broken(sources, broken)

    from fer_edge.progress_bar import progress
    from fer_edge.training.loop.train import train as run_training

    first = os.environ.get("RANK", "0") == "0"  # torchrun sets RANK: only the first prints
    with progress() as (say, step):
        for note in notes if first else ():
            say(note)
        best = run_training(
            loaded, specs, folder, resume=resume, licence=licence, say=say, step=step
        )
        if first and bundle is not None:
            evaluate_and_convert(best, specs, bundle, say, step)
    if first:
        click.echo(best)
