"""Training targets: labels, softened by FER+ votes and teachers.

FER2013 has one annotator's label for each face, and a good third of the labels are disputed. Two
sources know more than the label alone: the ten FER+ votes (Barsoum et al., 2016), and teachers,
which are networks trained before, or predictions in a file. Their weighted product predicts the
label better than either; the weights are fitted on held-out faces. Training towards it is
distillation (Hinton et al., 2015). Faces without labels have the teachers alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from fer_edge.errors import RecipeError
from fer_edge.training.checkpoint import Checkpoint, data_facts, load_checkpoint
from fer_edge.training.config.schema import Recipe
from fer_edge.training.data.faces import LabelledFace
from fer_edge.training.data.holdout import Holdout, Split
from fer_edge.training.evaluation.calibrate import minimise
from fer_edge.training.loop.dataset import FaceDataset, predict_logits
from fer_edge.training.loop.opinions import read_opinion

_CPU = torch.device("cpu")
_PENALTY = 1e-4
"""Weight of the L2 penalty; keeps the logit of a class without votes finite."""


def train_targets(
    split: Split, recipe: Recipe, say: Callable[[str], None], device: torch.device = _CPU
) -> Tensor:
    """Return targets float32 ``[N, classes]`` for ``split.learnt``; each row sums to 1.

    The targets of faces without labels come from the teachers alone, fitted without the votes.
    The teachers run on ``device``.

    Raises:
        CheckpointError: A teacher cannot be read.
        RecipeError: A teacher has other labels, or there is none for faces without labels.
        DataError: A file of predictions cannot be read, or lacks a face.
    """
    labels, weight = list(recipe.labels), recipe.data.soft_weight
    own = torch.tensor([face.target(labels) for face in split.train])
    faces = _in_order(split)
    taught = [teacher_opinion(name, split, recipe, say, device) for name in recipe.data.teachers]
    taught += [read_opinion(file, faces, labels) for file in recipe.data.opinions]
    voted = []
    if recipe.data.votes:
        if all(face.votes is not None for face in (*split.train, *split.held_out)):
            voted.append(vote_opinion(split, labels))
        else:
            say("The data set has no FER+ votes: targets are softened without them.")
    train, labelled = len(split.train), len(split.train) + len(split.held_out)
    truth = indices(split.held_out, labels)
    targets = own
    if opinions := [*voted, *(opinion[:labelled] for opinion in taught)]:
        product, loss = _fitted_product(opinions, slice(train, labelled), truth)
        targets = (1 - weight) * own + weight * product[:train].float()
        say(
            f"{weight:.0%} of each target from {len(opinions)} other source(s), "
            f"cross-entropy {loss:.3f} on the held-out faces"
        )
    if split.unlabelled is None:
        return targets
    if not taught:
        raise RecipeError(
            "expected data.teachers for the faces without labels. Add one, such as "
            "--set data.teachers=[default]"
        )
    product, loss = _fitted_product(taught, slice(train, labelled), truth)
    say(
        f"Targets of the faces without labels from {len(taught)} teacher(s), cross-entropy "
        f"{loss:.3f} on the held-out faces"
    )
    return torch.cat([targets, product[labelled:].float()])


def _in_order(split: Split) -> list[LabelledFace]:
    """Return all faces in the order of an opinion: train, held out, without labels."""
    return [*split.train, *split.held_out, *split.learnt[len(split.train) :]]


def _fitted_product(
    opinions: Sequence[Tensor], known: slice, truth: Tensor
) -> tuple[Tensor, float]:
    """Return P(label | opinions), float64 ``[N, classes]``, and its cross-entropy where known.

    It is the weighted product of the opinions; the weights and a bias are fitted on the faces whose
    label is known, and that no teacher was trained on.
    """
    evidence = torch.stack(list(opinions), 1)
    count, classes = evidence.shape[1:]
    scale = nn.Parameter(torch.full((count,), 1 / count, dtype=torch.float64))
    bias = nn.Parameter(torch.zeros(classes, dtype=torch.float64))

    def product(rows: Tensor) -> Tensor:
        return torch.einsum("o,noc->nc", scale, rows) + bias

    minimise([scale, bias], lambda: nn.functional.cross_entropy(product(evidence[known]), truth))
    with torch.no_grad():
        loss = nn.functional.cross_entropy(product(evidence[known]), truth)
        return product(evidence).softmax(1), float(loss)


def vote_opinion(split: Split, labels: Sequence[str]) -> Tensor:
    """Return log P(label | FER+ votes), float64 ``[train + held out, classes]``.

    Voters and annotator used slightly different classes; a logistic regression on the training
    faces translates between them. A table of counts is worse: its cross-entropy on PublicTest is
    1.03, against 0.89.
    """
    votes = torch.tensor([face.votes for face in (*split.train, *split.held_out)]).double()
    shares = votes / votes.sum(1, keepdim=True).clamp_min(1)
    features = torch.cat([shares, shares.sqrt()], 1)
    translate = nn.Linear(features.shape[1], len(labels)).double()
    nn.init.zeros_(translate.weight)
    nn.init.zeros_(translate.bias)
    known, truth = features[: len(split.train)], indices(split.train, labels)

    def loss() -> Tensor:
        fit = nn.functional.cross_entropy(translate(known), truth)
        return fit + _PENALTY * translate.weight.square().sum()

    minimise(list(translate.parameters()), loss)
    with torch.no_grad():
        return nn.functional.log_softmax(translate(features), 1)


def teacher_opinion(
    folder: str, split: Split, recipe: Recipe, say: Callable[[str], None], device: torch.device
) -> Tensor:
    """Return log P(label | face) of a teacher.

    Averaged over the face and its mirror image; float64 ``[N, classes]`` of the training faces,
    the held-out faces and the faces without labels.
    """
    teacher = load_checkpoint(folder)
    if set(teacher.spec.labels) != set(recipe.labels):
        raise RecipeError(
            f"expected a teacher with the labels {', '.join(recipe.labels)}; {folder} has "
            f"{', '.join(teacher.spec.labels)}. Choose another teacher or other labels"
        )
    faces = data_facts(teacher.facts).get("fingerprint")
    if (faces, Holdout.stated(teacher.facts)) != (split.fingerprint, Holdout.of(recipe)):
        say(
            f"The teacher {folder} was trained on other data, or with other held-out faces. It may "
            "have been trained on faces that are held out now, and then has too much weight."
        )
    order = [teacher.spec.labels.index(name) for name in recipe.labels]
    return mirrored_opinion(teacher, _in_order(split), device)[:, order]


def mirrored_opinion(
    teacher: Checkpoint, faces: list[LabelledFace], device: torch.device
) -> Tensor:
    """Return log P(label | face), float64 ``[N, classes]`` in the order of the teacher's labels.

    The logits are the mean over the face and its mirror image.

    Args:
        teacher: Checkpoint that predicts.
        faces: Faces to predict.
        device: Device of the network.
    """
    net = teacher.model.to(device)
    views = [
        predict_logits(net, FaceDataset(faces, None, teacher.spec.input, change), device).double()
        for change in (None, _mirror)
    ]
    return nn.functional.log_softmax((views[0] + views[1]) / 2, 1)


def teacher_facts(recipe: Recipe) -> list[dict[str, Any]]:
    """Return weights' SHA-256 and recipe of each teacher, for the card."""
    teachers = [load_checkpoint(folder) for folder in recipe.data.teachers]
    return [{"sha256": t.sha256, "recipe": t.facts.get("recipe", {})} for t in teachers]


def _mirror(pixels: Tensor) -> Tensor:
    return pixels.flip(-1)


def indices(faces: Sequence[LabelledFace], labels: Sequence[str]) -> Tensor:
    """Return each face's label as its index in ``labels``, int64 ``[N]``."""
    return torch.tensor([list(labels).index(face.label) for face in faces])
