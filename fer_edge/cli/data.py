"""``fer-edge data``: summary, split, pack and fetch."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fer_edge.cli.options import (
    PATH,
    Command,
    broken_option,
    detector_option,
    json_option,
    numbers,
    out_option,
    print_json,
    quiet_option,
)
from fer_edge.option_types import FiniteRange

if TYPE_CHECKING:
    from fer_edge.training.data.dataset_spec import Broken
    from fer_edge.training.data.pack import Locate, OutputFormat
    from fer_edge.training.data.parts import Parts
    from fer_edge.training.data.split import SplitBy


def _label_list(_ctx: click.Context, _param: click.Parameter, value: str | None) -> Any:
    from fer_edge.labels import check_label_list

    return None if value is None else list(check_label_list(value.split(",")))


def _two_or_three_shares(
    _ctx: click.Context, _param: click.Parameter, shares: list[float]
) -> list[float]:
    if len(shares) not in (2, 3) or not all(0 < share < math.inf for share in shares):
        raise click.BadParameter(
            f"expected two or three positive shares like 0.8,0.2, got {','.join(map(str, shares))}"
        )
    return shares


_labels_option = click.option(
    "--labels",
    metavar="A,B,…",
    callback=_label_list,
    help="Name the model's labels, if they are user-defined.",
)
_format_option = click.option(
    "--as",
    "form",
    type=click.Choice(["parquet", "hdf5", "list", "folders"]),
    help="Write this format (default: by the suffix of OUT).",
)


def _sources(command: Command) -> Command:
    return click.argument("sources", nargs=-1, required=True, type=PATH)(command)


@click.group()
def data() -> None:
    """Count, split, pack and fetch data sets of faces.

    \b
    Example: fer-edge data summary fer2013/

    A SOURCE is a path, or hf:NAME of the Hugging Face Hub, which needs the network. Options follow
    an @: 'fer2013/@labels=ferplus,drop=contempt'.
    Formats, options and licence terms: page 'Data formats' of the documentation.
    """


@data.command()
@_sources
@click.option(
    "--near-duplicates",
    is_flag=True,
    help="Search for copies in another crop or tone across parts; --json names them.",
)
@_labels_option
@broken_option
@quiet_option
@json_option
def summary(
    sources: tuple[Path, ...],
    near_duplicates: bool,
    labels: list[str] | None,
    broken: Broken,
    as_json: bool,
) -> None:
    """Count faces by class and part; list broken pictures.

    \b
    Example: fer-edge data summary fer2013/ kmu-fed/

    Exits with 3 if pictures are broken, unless --broken skip is given.
    """
    from fer_edge.progress_bar import progress
    from fer_edge.training.data.summary import check_unbroken, summarise, table

    with progress() as (say, step):
        report = summarise(sources, labels, near_duplicates=near_duplicates, say=say, step=step)
    if as_json:
        print_json(report)
    else:
        click.echo("\n".join(table(report)))
    if broken == "fail":
        check_unbroken(report)


@data.command()
@_sources
@out_option(
    "Write a folder of parquet files, a .h5 file, or a .csv list of the files.", required=True
)
@click.option(
    "--shares",
    type=numbers(float, "shares like 0.8,0.2"),
    metavar="N,N[,N]",
    callback=_two_or_three_shares,
    default="0.9,0.1",
    show_default=True,
    help="Split by these shares into train and val, or into train, val and test.",
)
@click.option(
    "--by",
    type=click.Choice(["auto", "subject", "clip", "picture"]),
    default="auto",
    show_default=True,
    help="Keep all faces of one subject (or clip) in one part; duplicates always stay together. "
    "auto: subject or clip if the sources name any, else picture.",
)
@click.option(
    "--part",
    type=click.Choice(["train", "val", "test", "all"]),
    default="train",
    show_default=True,
    help="Split this part of the sources; a source without parts counts as train.",
)
@_format_option
@_labels_option
@broken_option
@click.option(
    "--seed", type=click.IntRange(0), default=2026, show_default=True, help="Seed the shuffle."
)
@quiet_option
@json_option
def split(
    sources: tuple[Path, ...],
    out: Path,
    shares: list[float],
    by: SplitBy,
    part: str,
    form: OutputFormat | None,
    labels: list[str] | None,
    broken: Broken,
    seed: int,
    as_json: bool,
) -> None:
    """Split data sets; keep duplicates and subjects together.

    \b
    Example: fer-edge data split kmu-fed/ -o kmu --shares 0.8,0.2 --by subject
             fer-edge data split faces/ -o faces/split.csv  # copies no files
    """
    from fer_edge.progress_bar import progress
    from fer_edge.training.data.split import split_datasets

    with progress() as (say, step):
        parts = split_datasets(
            sources,
            out,
            shares,
            by=by,
            part=part,
            form=form,
            labels=labels,
            broken=broken,
            seed=seed,
            say=say,
            step=step,
        )
    _print_parts(out, parts, as_json)


@data.command()
@_sources
@out_option("Write a folder of parquet files, or a .h5 file.", required=True)
@_format_option
@_labels_option
@click.option(
    "--find-faces",
    is_flag=True,
    help="Write the face of each picture alone; leave out pictures without a face.",
)
@click.option(
    "--margin",
    type=FiniteRange(0, 2),
    default=0.1,
    show_default=True,
    help="With --find-faces, widen each box on each side by this share of its longer side.",
)
@detector_option
@broken_option
@quiet_option
@json_option
def pack(
    sources: tuple[Path, ...],
    out: Path,
    form: OutputFormat | None,
    labels: list[str] | None,
    find_faces: bool,
    margin: float,
    detector: Path | None,
    broken: Broken,
    as_json: bool,
) -> None:
    """Merge data sets into one with few large files; keep their parts.

    \b
    Example: fer-edge data pack fer2013/ raf-db/ -o faces.h5
             fer-edge data pack people.parquet@labels=none --find-faces -o people
    """
    from fer_edge.progress_bar import progress
    from fer_edge.training.data.pack import pack_datasets

    locate = _locate(detector, margin) if find_faces or detector else None
    with progress() as (say, step):
        parts = pack_datasets(
            sources,
            out,
            form=form,
            labels=labels,
            broken=broken,
            locate=locate,
            say=say,
            step=step,
        )
    _print_parts(out, parts, as_json)


@data.command()
@click.argument("name")
@out_option("Download into this folder.", default=".", show_default=True)
@quiet_option
def fetch(name: str, out: Path) -> None:
    """Download a data set, or explain how to get it.

    \b
    Example: fer-edge data fetch ferplus -o fer2013/

    NAME is ferplus (FER+'s votes, MIT; needs git and the network), fer2013, affectnet, raf-db or
    kmu-fed. Exits with 3 for a data set that its owner alone gives out.
    """
    from fer_edge.progress_bar import progress
    from fer_edge.training.data.fetch_dataset import fetch_dataset

    with progress() as (say, _):
        path = fetch_dataset(name, out, say)
    click.echo(click.format_filename(path))


def _locate(detector: Path | None, margin: float) -> Locate:
    from fer_edge.training.evaluation.locate import locate, require_detector

    finder = require_detector(detector)
    return lambda faces, step: locate(faces, finder, margin, step)


def _print_parts(out: Path, parts: Parts, as_json: bool) -> None:
    from fer_edge.training.data.parts import per_class

    counts = {part: per_class(faces) for part, faces in parts.items()}
    if as_json:
        print_json({"path": str(out), "parts": counts})
        return
    for part, by_class in counts.items():
        classes = ", ".join(f"{label or 'unlabelled'} {n:,}" for label, n in by_class.items())
        click.echo(f"{part:6s}{sum(by_class.values()):8,} faces  {classes}")
    click.echo(click.format_filename(out))
