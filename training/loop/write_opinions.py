"""Predictions of checkpoints in a file, for ``data.opinions`` of a recipe.

    python -m fer_edge.training.loop.write_opinions runs/teacher/best --data fer2013/ \\
        --unlabelled fairface.parquet -o opinions.parquet

They are computed once, for several runs or for a run in several sittings.

A network is too sure of the faces that it was trained on. Out-of-fold predictions avoid this: with
one checkpoint for each fold of the data, a face is predicted by the network trained without it:

    python -m fer_edge.training.loop.write_opinions without-0/best without-1/best --data fer2013/ \\
        -o opinions.parquet

where the first was trained on ``fer2013/@without=0/2`` and the second on ``fer2013/@without=1/2``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import click
import torch

from fer_edge.errors import DataError
from fer_edge.module_command import ModuleCommand
from fer_edge.progress import Say, Step, silent
from fer_edge.progress_bar import progress
from fer_edge.training.checkpoint import Checkpoint, data_facts, load_checkpoint
from fer_edge.training.data.dataset_spec import DatasetSpec
from fer_edge.training.data.faces import LabelledFace, load_faces
from fer_edge.training.data.folds import Fold
from fer_edge.training.loop.dataset import fastest_device
from fer_edge.training.loop.opinions import check_before_work, write_opinion
from fer_edge.training.loop.targets import mirrored_opinion


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
    checkpoints: Sequence[str],
    data: tuple[str, ...],
    unlabelled: tuple[str, ...],
    out: Path,
    say: Say,
    step: Step = silent,
) -> int:
    """Write the predictions of a checkpoint or of one per fold.

    Return the number of faces.

    Args:
        checkpoints: Checkpoint folders, or names of shipped models. Of N, the k-th predicts fold
            k/N of the labelled faces; the mean of all predicts the faces without labels.
        data: Labelled data sets of the run; their train parts are predicted.
        unlabelled: Data sets of ``data.unlabelled``.
        out: File to write, .parquet.
        say: Reports faces that are left out.
        step: Receives progress.

    Raises:
        CheckpointError: A checkpoint cannot be read.
        DataError: A data set cannot be read, or two faces have the same name. A checkpoint was
            trained on the faces that it should predict, or has other labels. The file cannot be
            written.
    """
    teachers = [load_checkpoint(checkpoint) for checkpoint in checkpoints]
    labels = teachers[0].spec.labels
    folds = [Fold(i, len(teachers)) for i in range(len(teachers))]
    for name, teacher, fold in zip(checkpoints, teachers, folds, strict=True):
        _check_fits(name, teacher, labels, fold)
    known = [train_faces((source,), (), say, step) for source in data]
    more = train_faces((), unlabelled, say, step)
    check_before_work(out, [*(face for faces in known for face in faces), *more])
    device, predicted = fastest_device(), []
    mean = torch.zeros(len(more), len(labels), dtype=torch.float64)
    for teacher, fold in zip(teachers, folds, strict=True):
        own = [
            face
            for source, faces in zip(data, known, strict=True)
            for face in fold.of(faces, DatasetSpec.parse(source).path)
        ]
        opinion = mirrored_opinion(teacher, [*own, *more], device)
        predicted.append((own, opinion[: len(own)]))
        mean += opinion[len(own) :] / len(teachers)
    faces = [*(face for own, _ in predicted for face in own), *more]
    write_opinion(out, faces, torch.cat([*(rows for _, rows in predicted), mean]), labels)
    return len(faces)


def _check_fits(name: str, teacher: Checkpoint, labels: tuple[str, ...], fold: Fold) -> None:
    """Raise DataError for other labels, or a teacher that was trained on its fold."""
    if teacher.spec.labels != labels:
        raise DataError(
            f"expected checkpoints with the same labels, got {', '.join(labels)} and "
            f"{', '.join(teacher.spec.labels)} in {name}. Predict with each by itself"
        )
    stated = data_facts(teacher.facts).get("sources")
    listed = stated if isinstance(stated, list) else []
    sources = [source for source in listed if isinstance(source, str)]
    left_out = [DatasetSpec.parse(source).without for source in sources]
    if fold.folds > 1 and left_out != [str(fold)] * max(1, len(left_out)):
        raise DataError(
            f"expected {name} to be trained without fold {fold}, as it is checkpoint "
            f"{fold.number + 1} of {fold.folds}; its card says {', '.join(sources) or 'nothing'}. "
            f"Train it with --data DATA@without={fold}, or change the order"
        )


@click.command("write_opinions", cls=ModuleCommand)
@click.argument("checkpoints", nargs=-1, required=True)
@click.option("--data", multiple=True, help="Predict the train part of this data set. Repeatable.")
@click.option(
    "--unlabelled", multiple=True, help="Predict this data set of data.unlabelled too. Repeatable."
)
@click.option("-o", "--out", required=True, type=click.Path(path_type=Path), help="File to write.")
def main(
    checkpoints: tuple[str, ...], data: tuple[str, ...], unlabelled: tuple[str, ...], out: Path
) -> None:
    """Write the predictions of CHECKPOINTS for data.opinions of a recipe.

    Of several, each predicts the fold of DATA that it was trained without.
    """
    with progress() as (say, step):
        count = write_opinions(checkpoints, data, unlabelled, out, say, step)
    click.echo(f"{out}: {count:,} faces")


if __name__ == "__main__":
    main()
