"""``fer-edge data`` and what is below it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fer_edge.cli.options import print_json
from fer_edge.errors import DataError

if TYPE_CHECKING:
    from fer_edge.progress import Say, Step
    from fer_edge.training.data.dataset_spec import Broken, DatasetSpec
    from fer_edge.training.data.faces import LabelledFace

_SOURCES = click.argument("sources", nargs=-1, required=True, type=click.Path(path_type=Path))
_LABELS = click.option("--labels", metavar="A,B,…", help="The model's labels, if of your own.")
_BROKEN = click.option(
    "--broken",
    type=click.Choice(["fail", "skip"]),
    default="fail",
    show_default=True,
    help="Pictures that cannot be read, or are blank: an error, or left out. Reported either way.",
)
_SEED = click.option("--seed", default=2026, show_default=True)
_JSON = click.option("--json", "as_json", is_flag=True, help="JSON on standard output.")
_FORMS = click.Choice(["parquet", "hdf5", "list", "folders"])
_PARTS = ("train", "val", "test")


@click.group()
def data() -> None:
    """Count, split, pack and fetch data sets of faces.

    \b
    Example: fer-edge data summary fer2013/
    A SOURCE is a path, or hf:NAME of the Hugging Face Hub, which needs the network. Options follow
    an @: 'fer2013/@labels=ferplus,drop=contempt'.
    Forms, options and terms: docs/reference/data.md
    """


@data.command()
@_SOURCES
@_LABELS
@_BROKEN
@_JSON
def summary(sources: tuple[Path, ...], labels: str | None, broken: Broken, as_json: bool) -> None:
    """Counts by class and part, sizes, duplicates, broken pictures, twins across parts.

    \b
    Example: fer-edge data summary fer2013/ kmu-fed/
    Exit code 3 if pictures are broken, unless --broken skip.
    """
    from fer_edge.progress import progress
    from fer_edge.training.data.summary import summary as work
    from fer_edge.training.data.summary import table

    with progress() as (say, step):
        found = work(sources, _names(labels), say=say, step=step)
    if as_json:
        print_json(found)
    else:
        for line in table(found):
            click.echo(line)
    count = sum(len(part["broken"]) for part in found["parts"].values())
    if count and broken == "fail":
        raise DataError(f"{count} pictures are broken. Mend or remove them, or take --broken skip")


@data.command()
@_SOURCES
@click.option("-o", "--out", required=True, type=click.Path(path_type=Path),
              help="A folder for parquet, a file .h5, or .csv (a list of the files).")  # fmt: skip
@click.option("--shares", default="0.9,0.1", show_default=True, metavar="N,N[,N]",
              help="Of train, val and test.")  # fmt: skip
@click.option("--by", type=click.Choice(["auto", "subject", "clip", "picture"]), default="auto",
              show_default=True, help="What stays together, beside twins; auto: subject, or clip, "
              "where it is known.")  # fmt: skip
@click.option("--part", type=click.Choice([*_PARTS, "all"]), default="train", show_default=True,
              help="What of the sources is split; an undivided one is train.")  # fmt: skip
@click.option("--as", "form", type=_FORMS, help="How it is written [by the ending of OUT].")
@_LABELS
@_BROKEN
@_SEED
@_JSON
def split(
    sources: tuple[Path, ...],
    out: Path,
    shares: str,
    by: str,
    part: str,
    form: Any,
    labels: str | None,
    broken: Broken,
    seed: int,
    as_json: bool,
) -> None:
    """Split data sets into parts: stratified, twins and subjects never on both sides.

    \b
    Example: fer-edge data split kmu-fed/ -o kmu-split --shares 0.8,0.2 --by subject
             fer-edge data split faces/ -o faces/split.csv          # a list, copies nothing
    """
    from fer_edge.progress import progress
    from fer_edge.training.data import pack as packing
    from fer_edge.training.data.faces import sound
    from fer_edge.training.data.partition import groups_of, partition

    numbers = _shares(shares)
    with progress() as (say, step):
        parts = _load(sources, labels, say, step)
        chosen = parts if part == "all" else {part: parts.get(part, [])}
        faces, hashes = sound([f for faces in chosen.values() for f in faces], broken, say, step)
        if not faces:
            raise DataError(f"no faces in part {part!r}; the sources have {', '.join(parts)}")
        known = any(face.subject or face.clip for face in faces)
        bond: Any = ("subject" if known else "picture") if by == "auto" else by
        sides = partition(groups_of(faces, hashes, bond), [f.label for f in faces], numbers, seed)
        written = {
            name: [f for f, own in zip(faces, sides, strict=True) if own == side]
            for side, name in enumerate(_PARTS[: len(numbers)])
        }
        if empty := [name for name, own in written.items() if not own]:
            raise DataError(f"too few faces, or too few subjects: {', '.join(empty)} got none")
        packing.write(out, written, form, step)
    _report(out, written, as_json)


@data.command()
@_SOURCES
@click.option("-o", "--out", required=True, type=click.Path(path_type=Path),
              help="A folder for parquet, or a file .h5.")  # fmt: skip
@click.option("--as", "form", type=_FORMS, help="How it is written [by the ending of OUT].")
@_LABELS
@_BROKEN
@_JSON
def pack(
    sources: tuple[Path, ...],
    out: Path,
    form: Any,
    labels: str | None,
    broken: Broken,
    as_json: bool,
) -> None:
    """Write data sets as one, in few large files; parts stay as they are.

    Example: fer-edge data pack fer2013/ raf-db/ -o faces.h5
    """
    from fer_edge.progress import progress
    from fer_edge.training.data import pack as packing
    from fer_edge.training.data.faces import sound

    with progress() as (say, step):
        written = {
            part: sound(faces, broken, say, step)[0]
            for part, faces in _load(sources, labels, say, step).items()
        }
        packing.write(out, written, form, step)
    _report(out, written, as_json)


@data.command()
@click.argument("name")
@click.option("-o", "--out", default=".", show_default=True, type=click.Path(path_type=Path),
              help="The folder that it goes into.")  # fmt: skip
def fetch(name: str, out: Path) -> None:
    """Download a data set where its terms allow it, or say how to get it (exit code 3).

    \b
    Example: fer-edge data fetch ferplus -o fer2013/
    NAME is ferplus (FER+'s votes, MIT; needs git and the network), fer2013, affectnet, raf-db or
    kmu-fed.
    """
    from fer_edge.progress import progress
    from fer_edge.training.data.fetch_dataset import fetch as work

    with progress() as (say, _):
        path = work(name, out, say)
    click.echo(path)


def with_broken(sources: tuple[Path, ...], broken: str) -> list[DatasetSpec]:
    """Sources of which broken pictures are left out, where that is wished for all of them."""
    from dataclasses import replace

    from fer_edge.training.data.dataset_spec import as_dataset_specs

    parsed = as_dataset_specs(sources)
    return [replace(one, broken="skip") if broken == "skip" else one for one in parsed]


def _load(
    sources: tuple[Path, ...], labels: str | None, say: Say, step: Step
) -> dict[str, list[LabelledFace]]:
    from fer_edge.training.data.dataset_spec import as_dataset_specs
    from fer_edge.training.data.summary import load_parts

    return load_parts(as_dataset_specs(sources), _names(labels), say, step)[0]


def _names(labels: str | None) -> list[str] | None:
    from fer_edge.labels import check_label_list

    return None if labels is None else list(check_label_list(labels.split(",")))


def _shares(text: str) -> list[float]:
    try:
        shares = [float(part) for part in text.split(",")]
    except ValueError:
        shares = []
    if len(shares) not in (2, 3) or not all(0 < share < float("inf") for share in shares):
        raise click.BadParameter(
            f"expected two or three positive shares like 0.8,0.2, got {text!r}"
        )
    return shares


def _report(out: Path, written: dict[str, list[LabelledFace]], as_json: bool) -> None:
    from collections import Counter

    counts = {
        part: dict(sorted(Counter(face.label for face in faces).items()))
        for part, faces in written.items()
    }
    if as_json:
        print_json({"path": str(out), "parts": counts})
        return
    for part, by_class in counts.items():
        each = ", ".join(f"{label} {count:,}" for label, count in by_class.items())
        click.echo(f"{part:6s}{sum(by_class.values()):8,} faces  {each}")
    click.echo(out)
