"""Opinions of a blendshape teacher, for ``data.opinions`` of a recipe.

    python -m fer_edge.training.blendshapes face_landmarker.task --data fer2013/ \\
        --unlabelled faces/ -o blendshapes.parquet

The teacher knows an expression by the movements of the face, not by its pixels. A logistic
regression reads the label from 52 blendshapes of the face and of its mirror image. No face has an
opinion of a regression that was fitted to it, or to a duplicate of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import cv2
import numpy as np
import torch
from torch import Tensor, nn

from fer_edge.errors import DataError
from fer_edge.module_command import ModuleCommand
from fer_edge.progress import Say, Step, silent
from fer_edge.progress_bar import progress
from fer_edge.training.data.dataset_spec import DatasetSpec
from fer_edge.training.data.faces import LabelledFace, hash_of, load_faces
from fer_edge.training.data.folds import fold_of
from fer_edge.training.evaluation.calibrate import minimise
from fer_edge.training.face_mesh import PRESENT, FaceMesh
from fer_edge.training.loop.opinions import check_before_work, write_opinion
from fer_edge.training.loop.write_opinions import train_faces

FOLDS = 5
"""Parts of the labelled faces; each has the opinion of a regression on the others."""
_PENALTY = 1e-4
"""Weight of the L2 penalty of the regression."""
_LEAST = 1e-3
"""Strength that is added to a blendshape before its logarithm.

Logarithms have a cross-entropy of 1.38 on 2,000 faces of FER2013, the strengths themselves 1.40.
"""
_BATCH = 64


@dataclass(frozen=True)
class Readings:
    """Blendshapes of N faces, as a regression reads them.

    Attributes:
        values: Logarithm of each blendshape, float32 ``[N, 52]``; 0 for a face without a mesh.
        meshed: True for each face with a mesh, bool ``[N]``.
        folds: Fold of each face, int64 ``[N]``; duplicates are in one fold.
    """

    values: Tensor
    meshed: Tensor
    folds: Tensor


@dataclass(frozen=True)
class Result:
    """Figures of the opinions that ``write_blendshape_opinions`` wrote.

    Attributes:
        faces: Number of faces.
        without_mesh: Faces without a mesh. Their opinion is the shares of the labels among such
            faces.
        accuracy: Share (0..1) of the labelled faces with the right answer.
        cross_entropy: Mean of -ln of the probability of the label, in nats.
    """

    faces: int
    without_mesh: int
    accuracy: float
    cross_entropy: float


def read_blendshapes(mesh: FaceMesh, faces: Sequence[LabelledFace], step: Step) -> Readings:
    """Read the blendshapes of faces and their mirror images.

    The logarithms are means over the views with a mesh.

    Args:
        mesh: Networks of landmarks and blendshapes.
        faces: Faces to read.
        step: Receives progress.

    Raises:
        DataError: A picture is broken.
    """
    values, meshed, folds = [], [], []
    for start in range(0, len(faces), _BATCH):
        images = [face.read() for face in faces[start : start + _BATCH]]
        views = [mesh.read(each) for each in (images, [cv2.flip(i, 1) for i in images])]
        seen = np.stack([view.presence >= PRESENT for view in views])
        rows = np.stack([np.log(view.blendshapes.clip(0) + _LEAST) for view in views])
        count = np.maximum(seen.sum(0), 1)[:, None]
        values.append((rows * seen[:, :, None]).sum(0) / count)
        meshed.append(seen.any(0))
        folds += [fold_of(hash_of(image), FOLDS) for image in images]
        step("reading blendshapes", min(start + _BATCH, len(faces)), len(faces))
    return Readings(
        torch.from_numpy(np.concatenate(values).astype(np.float32)),
        torch.from_numpy(np.concatenate(meshed)),
        torch.tensor(folds),
    )


def fitted_opinions(readings: Readings, truth: Tensor, classes: int) -> Tensor:
    """Return log P(label | blendshapes), float64 ``[N, classes]``.

    The first faces are labelled. Each of them has the opinion of a regression that was fitted to
    the other folds; the faces after them have that of one that was fitted to all.

    Args:
        readings: Readings of the labelled faces, then of the others.
        truth: Class indices of the labelled faces, int64.
        classes: Number of classes.
    """
    labelled = len(truth)
    features = _features(readings)
    known, folds = features[:labelled], readings.folds[:labelled]
    opinions = torch.zeros(len(features), classes, dtype=torch.float64)
    for fold in sorted(set(folds.tolist())):
        inside = folds == fold
        if inside.all():
            raise DataError("expected at least two different pictures to fit a regression to")
        head = _fitted(known[~inside], truth[~inside], classes)
        opinions[:labelled][inside] = head(known[inside])
    if len(features) > labelled:
        opinions[labelled:] = _fitted(known, truth, classes)(features[labelled:])
    return nn.functional.log_softmax(opinions, 1)


def write_blendshape_opinions(
    task: Path,
    data: tuple[str, ...],
    unlabelled: tuple[str, ...],
    out: Path,
    say: Say,
    step: Step = silent,
) -> Result:
    """Write the opinions of a blendshape teacher.

    Args:
        task: ``face_landmarker.task``.
        data: Labelled data sets of the run; their train parts are read.
        unlabelled: Data sets of ``data.unlabelled``.
        out: File to write, .parquet.
        say: Reports faces that are left out.
        step: Receives progress.

    Raises:
        DataError: A data set or ``task`` cannot be read, the file cannot be written, or two faces
            have the same name.
        TargetError: OpenVINO is not installed.
    """
    mesh = FaceMesh(task)
    known = []
    for source in data:
        known += load_faces(DatasetSpec.parse(source), "train", None, say, step)
    faces = known + train_faces((), unlabelled, say, step)
    labels = sorted({face.label for face in known})
    if len(labels) < 2 or "" in labels:
        raise DataError(
            "expected labelled faces of at least two classes. Name them with --data, and faces "
            "without labels with --unlabelled"
        )
    check_before_work(out, faces)
    readings = read_blendshapes(mesh, faces, step)
    truth = torch.tensor([labels.index(face.label) for face in known])
    opinions = fitted_opinions(readings, truth, len(labels))
    write_opinion(out, faces, opinions, labels)
    own = opinions[: len(known)]
    return Result(
        len(faces),
        int((~readings.meshed).sum()),
        float((own.argmax(1) == truth).double().mean()),
        float(nn.functional.nll_loss(own, truth)),
    )


def _features(readings: Readings) -> Tensor:
    """Return standardised values, and a column that is 1 for faces without a mesh."""
    meshed = readings.meshed[:, None]
    values = readings.values.double()
    seen = values[readings.meshed] if readings.meshed.any() else values
    scaled = (values - seen.mean(0)) / seen.std(0, unbiased=False).clamp_min(1e-6)
    return torch.cat([torch.where(meshed, scaled, 0.0), (~meshed).double()], 1)


def _fitted(features: Tensor, truth: Tensor, classes: int) -> nn.Linear:
    """Return a multinomial logistic regression with an L2 penalty."""
    head = nn.Linear(features.shape[1], classes).double()
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)

    def loss() -> Tensor:
        fit = nn.functional.cross_entropy(head(features), truth)
        return fit + _PENALTY * head.weight.square().sum()

    minimise(list(head.parameters()), loss)
    return head.requires_grad_(requires_grad=False)


@click.command("blendshapes", cls=ModuleCommand)
@click.argument("task", type=click.Path(path_type=Path))
@click.option(
    "--data", multiple=True, required=True, help="Read the train part of this data set. Repeatable."
)
@click.option(
    "--unlabelled", multiple=True, help="Read this data set of data.unlabelled too. Repeatable."
)
@click.option("-o", "--out", required=True, type=click.Path(path_type=Path), help="File to write.")
def main(task: Path, data: tuple[str, ...], unlabelled: tuple[str, ...], out: Path) -> None:
    """Write opinions from the blendshapes of TASK, MediaPipe's face_landmarker.task."""
    with progress() as (say, step):
        result = write_blendshape_opinions(task, data, unlabelled, out, say, step)
    click.echo(
        f"{out}: {result.faces:,} faces, {result.without_mesh:,} of them without a mesh. Labelled "
        f"faces: {result.accuracy:.1%} right, cross-entropy {result.cross_entropy:.3f}"
    )


if __name__ == "__main__":
    main()
