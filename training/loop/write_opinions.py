"""Predictions of a checkpoint in a file, for ``data.opinions`` of a recipe.

    python -m fer_edge.training.loop.write_opinions runs/teacher/best --data fer2013/ \\
        --unlabelled fairface.parquet -o opinions.parquet

They are computed once, for several runs or for a run in several sittings.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from fer_edge.errors import FerEdgeError
from fer_edge.progress import Say, Step, silent
from fer_edge.progress_bar import progress
from fer_edge.training.checkpoint import load_checkpoint
from fer_edge.training.data.dataset_spec import DatasetSpec
from fer_edge.training.data.faces import LabelledFace, load_faces
from fer_edge.training.loop.dataset import fastest_device
from fer_edge.training.loop.opinions import check_before_work, write_opinion
from fer_edge.training.loop.targets import mirrored_opinion

_BATCH = 64


def train_faces(
    data: tuple[str, ...], unlabelled: tuple[str, ...], say: Say, step: Step = silent
) -> list[LabelledFace]:
    """Return the train parts of data sets, without labels.

    Args:
        data: Labelled data sets of the run.
        unlabelled: Data sets of ``data.unlabelled``.
        say: Reports faces that are left out.
        step: Receives progress.

    Raises:
        DataError: A data set cannot be read, or has no train part.
    """
    faces = []
    for source in (*data, *unlabelled):
        faces += load_faces(
            replace(DatasetSpec.parse(source), labels="none"), "train", None, say, step
        )
    return faces


def write_opinions(
    checkpoint: str,
    data: tuple[str, ...],
    unlabelled: tuple[str, ...],
    out: Path,
    say: Say,
    step: Step = silent,
) -> int:
    """Write the predictions of a checkpoint; return the number of faces.

    Args:
        checkpoint: Checkpoint folder, or the name of a shipped model.
        data: Labelled data sets of the run; their train parts are predicted.
        unlabelled: Data sets of ``data.unlabelled``.
        out: File to write, .parquet.
        say: Reports faces that are left out.
        step: Receives progress.

    Raises:
        CheckpointError: The checkpoint cannot be read.
        DataError: A data set cannot be read, the file cannot be written, or two faces have the
            same name.
    """
    teacher = load_checkpoint(checkpoint)
    faces = train_faces(data, unlabelled, say, step)
    check_before_work(out, faces)
    opinion = mirrored_opinion(teacher, faces, _BATCH, fastest_device())
    write_opinion(out, faces, opinion, teacher.spec.labels)
    return len(faces)


@click.command("write_opinions")
@click.argument("checkpoint")
@click.option("--data", multiple=True, help="Predict the train part of this data set. Repeatable.")
@click.option(
    "--unlabelled", multiple=True, help="Predict this data set of data.unlabelled too. Repeatable."
)
@click.option("-o", "--out", required=True, type=click.Path(path_type=Path), help="File to write.")
def main(checkpoint: str, data: tuple[str, ...], unlabelled: tuple[str, ...], out: Path) -> None:
    """Write the predictions of CHECKPOINT for data.opinions of a recipe."""
    try:
        with progress() as (say, step):
            count = write_opinions(checkpoint, data, unlabelled, out, say, step)
    except FerEdgeError as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"{out}: {count:,} faces")


if __name__ == "__main__":
    main()
