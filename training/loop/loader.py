"""Training batches."""

from __future__ import annotations

from collections import Counter
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, WeightedRandomSampler

from fer_edge.training.config.schema import Recipe
from fer_edge.training.data.faces import LabelledFace
from fer_edge.training.loop.augment import augmentation
from fer_edge.training.loop.dataset import FaceDataset
from fer_edge.training.models.network import InputSpec

_LARGE_SET_PARTS = 20
"""Complete parts from which on the last, incomplete one is dropped: at most 5 % of an epoch."""


def train_loader(
    recipe: Recipe,
    faces: list[LabelledFace],
    targets: Tensor,
    spec: InputSpec,
    order: torch.Generator,
) -> DataLoader[Any]:
    """Return the loader of training batches.

    Batches are uint8 images ``[N, C, S, S]`` and float32 targets ``[N, classes]``.

    N is ``fit.part``. ``order`` draws the order of faces for each epoch. A large set drops its
    incomplete last part; a small one keeps it, unless it is a single face, which batch
    normalisation cannot take.
    """
    fit = recipe.fit
    is_large = len(faces) >= _LARGE_SET_PARTS * fit.part
    is_single = len(faces) % fit.part == 1 and len(faces) > 1
    sampler = None
    if fit.sampling == "balanced":
        count = Counter(face.label for face in faces)
        weights = [1 / count[face.label] for face in faces]
        sampler = WeightedRandomSampler(weights, len(faces), generator=order)
    return DataLoader(
        FaceDataset(faces, targets, spec, augmentation(recipe.augment, spec.size_px)),
        batch_size=fit.part,
        sampler=sampler,
        shuffle=sampler is None,
        drop_last=is_large or is_single,
        num_workers=fit.workers,
        generator=order,
    )
