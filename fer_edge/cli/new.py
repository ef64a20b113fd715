"""``fer-edge new``."""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fer_edge.cli.options import PATH, broken_option, out_option, quiet_option, write_out
from fer_edge.errors import DataError, InputError, MissingPartError
from fer_edge.paths import absolute

if TYPE_CHECKING:
    from fer_edge.training.data.dataset_spec import Broken
    from fer_edge.training.data.faces import LabelledFace

_SHARES = (0.8, 0.2)
"""Shares of train and val."""
_FEWEST = 5
"""Smallest number of pictures of a class that can be split by these shares."""
_LOOKED_AT = 40
"""Pictures whose size is looked at, about."""


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
    from fer_edge.training.config.checks import check_name
    from fer_edge.training.config.recipe import RECIPE_DIR
    from fer_edge.training.data.own_labels import labels_for
    from fer_edge.training.data.parts import load_parts, per_class
    from fer_edge.training.data.split import split_datasets

    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(
            f"expected a folder of class folders at {folder}, found none there. Make one, "
            f"with the pictures of each class in a folder: {folder}/awake, {folder}/drowsy"
        )
    base = absolute(folder).resolve()
    check_name(base.name)
    recipe = out or _beside(folder, base.name + ".yaml")
    split = _beside(folder, base.name + ".csv")
    if recipe.exists():
        raise InputError(f"{recipe} exists already. Choose another path with -o, or remove it")
    if not absolute(recipe).parent.is_dir():
        raise InputError(f"expected the folder {recipe.parent}, found none. Create it first")
    template = (RECIPE_DIR / "finetune.yaml").read_text("utf-8")
    with progress() as (say, step):
        labels = labels_for(folder)
        parts, _ = load_parts(folder, labels, say, step)
        _check_train(folder, parts)
        _check_classes(folder, parts)
        data = folder
        if "val" not in parts:
            data = split
            if data.exists():
                raise InputError(
                    f"{data} exists already: the split of an earlier fer-edge new. Remove it first"
                )
            try:
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
            except MissingPartError as error:
                if "different pictures" not in str(error):
                    raise
                raise DataError(
                    f"expected different pictures in {folder}, found copies of too few to train "
                    "and evaluate on. Add other pictures"
                ) from error
    write_out(recipe, _recipe(template, base.name, labels, data, recipe))
    click.echo(f"Labels: {', '.join(labels)}")
    for part, faces in parts.items():
        counts = ", ".join(f"{label} {count:,}" for label, count in per_class(faces).items())
        click.echo(f"{part:6s}{len(faces):6,} faces  {counts}")
    if note := _whole_photos([face for faces in parts.values() for face in faces]):
        click.echo(note, err=True)
    click.echo("\n".join(_next_steps(base.name, recipe, data)))


def _beside(folder: Path, name: str) -> Path:
    parent = folder.resolve().parent if folder.name in ("", "..") else folder.parent
    return parent / name


def _check_train(folder: Path, parts: Mapping[str, Sequence[LabelledFace]]) -> None:
    """Raise DataError, with the folder to rename, for parts without one to train on."""
    from fer_edge.training.data.dataset_spec import part_of

    if "train" in parts:
        return
    own = [entry.name for entry in sorted(folder.iterdir()) if part_of(entry) in parts]
    raise DataError(
        f"expected a part to train on in {folder}, found only {', '.join(parts)}. Rename the "
        f"folder {folder / (own or list(parts))[0]} to train: fer-edge new takes val out of it"
    )


def _check_classes(folder: Path, parts: Mapping[str, Sequence[LabelledFace]]) -> None:
    """Raise DataError for a single class, or for one with too few pictures to split."""
    from fer_edge.training.data.parts import per_class

    counts = Counter[str]()
    for faces in parts.values():
        counts.update(per_class(faces))
    if len(counts) < 2:
        names = ", ".join(counts)
        raise DataError(
            f"expected at least 2 classes in {folder}, found only {names}. Add a folder of "
            "pictures for each other class"
        )
    few = [f"{name} {count}" for name, count in counts.items() if count < _FEWEST]
    if few and "val" not in parts:
        raise DataError(
            f"expected at least {_FEWEST} pictures of each class in {folder}, found "
            f"{', '.join(few)}. Add pictures; 60 of each class are a good start"
        )


def _whole_photos(faces: Sequence[LabelledFace]) -> str | None:
    """Return a note if the pictures look like photos, and not like face crops."""
    from fer_edge.analysis import looks_like_a_crop

    seen = faces[:: max(1, len(faces) // _LOOKED_AT)]
    photos = []
    for face in seen:
        with suppress(DataError):  # a broken picture, which training reports
            if not looks_like_a_crop(face.read()):
                photos.append(face.name)
    if 2 * len(photos) <= len(seen):
        return None
    return (
        f"Note: {len(photos)} of {len(seen)} pictures looked at are large or not square, like "
        f"{photos[0]}. Each picture must be one face, cut out of its photo: "
        "the tutorial 'Your own pictures' shows how"
    )


def _recipe(template: str, name: str, labels: Sequence[str], data: Path, recipe: Path) -> str:
    """Return the recipe ``finetune`` with a name, labels and data set of its own."""
    import yaml

    def in_flow(value: object) -> str:
        text = yaml.safe_dump(value, default_flow_style=True, width=10_000, allow_unicode=True)
        return text.removesuffix("\n").removesuffix("\n...")

    try:
        source = str(data.resolve().relative_to(recipe.parent.resolve()))
    except ValueError:
        source = str(data.resolve())
    text = template[template.index("name: ") :]
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
