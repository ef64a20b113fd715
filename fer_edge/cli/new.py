"""``fer-edge new``."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fer_edge.cli.options import PATH, broken_option, out_option, quiet_option, write_out
from fer_edge.errors import DataError, InputError

if TYPE_CHECKING:
    from fer_edge.training.data.dataset_spec import Broken

_SHARES = (0.8, 0.2)
"""Shares of train and val."""


@click.command()
@click.argument("folder", type=PATH)
@out_option("Write this recipe (default: FOLDER.yaml, beside the folder).")
@broken_option
@quiet_option
def new(folder: Path, out: Path | None, broken: Broken) -> None:
    """Prepare your own pictures: recipe, split, commands.

    \b
    Example: fer-edge new drivers/
             fer-edge train drivers.yaml --bundle drivers.fer

    FOLDER has a folder of pictures for each class, which may be any words. The recipe starts from
    the shipped model. The split is a list, FOLDER.csv: it copies no pictures and keeps duplicates
    in one part. A folder that has train and val already is not split.
    """
    from fer_edge.progress_bar import progress
    from fer_edge.training.data.own_labels import labels_for
    from fer_edge.training.data.parts import load_parts, per_class
    from fer_edge.training.data.split import split_datasets

    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(f"expected a folder of class folders at {folder}, found none there")
    base = folder.resolve()
    recipe = out or _beside(folder, base.name + ".yaml")
    if recipe.exists():
        raise InputError(f"{recipe} exists already. Choose another path with -o, or remove it")
    with progress() as (say, step):
        labels = labels_for(folder)
        parts, _ = load_parts(folder, labels, say, step)
        data = folder
        if "val" not in parts:
            data = _beside(folder, base.name + ".csv")
            parts = split_datasets(
                folder,
                data,
                _SHARES,
                form="list",
                labels=labels,
                broken=broken,
                say=say,
                step=step,
            )
    write_out(recipe, _recipe(base.name, labels, data, recipe))
    click.echo(f"Labels: {', '.join(labels)}")
    for part, faces in parts.items():
        counts = ", ".join(f"{label} {count:,}" for label, count in per_class(faces).items())
        click.echo(f"{part:6s}{len(faces):6,} faces  {counts}")
    click.echo("\n".join(_next_steps(base.name, recipe, data)))


def _beside(folder: Path, name: str) -> Path:
    parent = folder.resolve().parent if folder.name in ("", "..") else folder.parent
    return parent / name


def _recipe(name: str, labels: Sequence[str], data: Path, recipe: Path) -> str:
    """Return the recipe ``finetune`` with a name, labels and data set of its own."""
    import yaml

    from fer_edge.training.config.recipe import RECIPE_DIR

    def in_flow(value: object) -> str:
        text = yaml.safe_dump(value, default_flow_style=True, width=10_000, allow_unicode=True)
        return text.removesuffix("\n").removesuffix("\n...")

    try:
        source = str(data.resolve().relative_to(recipe.parent.resolve()))
    except ValueError:
        source = str(data.resolve())
    text = (RECIPE_DIR / "finetune.yaml").read_text("utf-8")
    text = text[text.index("name: ") :]
    text = re.sub("(?m)^name: .*$", lambda _: f"name: {in_flow(name)}", text, count=1)
    text = re.sub("(?m)^labels: .*$", lambda _: f"labels: {in_flow(list(labels))}", text, count=1)
    text = text.replace("data:\n", f"data:\n  sources: {in_flow([source])}\n", 1)
    return f"# Made by fer-edge new. Keys: docs/reference/recipe-keys.md\n{text}"


def _next_steps(name: str, recipe: Path, data: Path) -> list[str]:
    bundle = name + ".fer"
    run = f"runs/{name}"
    steps = (
        ("train", recipe, "-o", run),
        ("evaluate", f"{run}/best", "--data", data, "-o", f"{run}/evaluation.html"),
        ("convert", f"{run}/best", "--target", "all", "--data", data, "-o", bundle),
        ("predict", "photo.jpg", "--bundle", bundle),
    )
    one = ("train", recipe, "-o", run, "--bundle", bundle)
    return [
        "Next:",
        *(f"  {_line(step)}" for step in steps),
        "Or the first three in one:",
        f"  {_line(one)}",
    ]


def _line(words: Sequence[object]) -> str:
    return "fer-edge " + shlex.join(map(str, words))
