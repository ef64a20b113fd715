"""From a data set to what one run trains on, and what it holds out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import torch
from torch import Tensor
from torch.utils.data import Dataset

from fer_edge.errors import DataError
from fer_edge.preprocess import CropRule, to_batch
from fer_edge.training import data as faces_of
from fer_edge.training import torchvision_compat  # noqa: F401  (before torchvision)
from fer_edge.training.data import Face
from fer_edge.training.model import InputSpec
from fer_edge.training.recipe import Recipe

from torchvision.transforms import v2  # isort: skip

Say = Callable[[str], None]
Step = Callable[[str, int, int], None]
"""Progress: what is running, how far it is, how far it goes."""


class FaceDataset(Dataset[tuple[Tensor, Tensor]]):
    """Faces as the network's uint8 ``[C, S, S]``, with soft targets ``[classes]``."""

    def __init__(
        self, faces: list[Face], targets: Tensor, spec: InputSpec, change: v2.Compose | None
    ):
        self.faces, self.targets, self.spec, self.change = faces, targets, spec, change
        self.rule = CropRule(spec.size_px)

    def __len__(self) -> int:
        return len(self.faces)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        image = to_batch([self.faces[index].read()], self.rule)[0]
        if self.spec.colour == "grey":
            pixels = torch.from_numpy(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY))[None]
        else:
            pixels = torch.from_numpy(image[:, :, ::-1].copy()).permute(2, 0, 1)
        return (self.change(pixels) if self.change else pixels), self.targets[index]


@dataclass(frozen=True)
class Split:
    """The training rows after twins of the validation pictures were dropped, and the held-out."""

    train: list[Face]
    held: list[Face]
    dropped: int
    fingerprint: str

    def facts(self) -> dict[str, Any]:
        """What is recorded of the data in run.json and the card."""
        return {
            "fingerprint": self.fingerprint,
            "train_faces": len(self.train),
            "held_out_faces": len(self.held),
            "dropped_twins": self.dropped,
        }


def split_data(recipe: Recipe, source: str | Path, step: Step) -> Split:
    """Load ``train``, drop twins of ``val`` where the source has one, and hold a part out."""
    faces = faces_of.load_faces(source, "train", recipe.labels)
    try:
        exam = faces_of.load_faces(source, "val", recipe.labels)
    except DataError:
        exam = []  # a source without a val part: nothing to keep out
    hashes = []
    for i, face in enumerate([*faces, *exam]):
        hashes.append(faces_of.pixel_hash(face))
        if i % 500 == 0:
            step("reading faces", i, len(faces) + len(exam))
    kept, kept_hashes = faces_of.without_twins(faces, hashes[: len(faces)], hashes[len(faces) :])
    held = set(
        faces_of.hold_out(kept_hashes, [f.label for f in kept], recipe.data.holdout, recipe.seed)
    )
    return Split(
        train=[f for i, f in enumerate(kept) if i not in held],
        held=[f for i, f in enumerate(kept) if i in held],
        dropped=len(faces) - len(kept),
        fingerprint=faces_of.fingerprint(kept, kept_hashes),
    )


def soft_targets(faces: list[Face], recipe: Recipe, say: Say) -> Tensor:
    """One-hot labels, mixed with what the FER+ votes make likely where the recipe wants it."""
    labels = list(recipe.labels)
    onehot = torch.eye(len(labels))[[labels.index(face.label) for face in faces]]
    weight = recipe.data.vote_weight
    if not weight:
        return onehot
    votes = faces_of.vote_targets(faces, labels)
    if votes is None:
        say("This source has no FER+ votes: the targets are its labels alone.")
        return onehot
    return (1 - weight) * onehot + weight * torch.from_numpy(votes)
