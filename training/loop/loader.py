"""Training batches."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Sampler, WeightedRandomSampler

from fer_edge.training.config.schema import Recipe
from fer_edge.training.data.faces import LabelledFace
from fer_edge.training.loop.augment import augmentation
from fer_edge.training.loop.dataset import FaceDataset, collate, on_one_core
from fer_edge.training.models.network import InputSpec

_LARGE_SET_PARTS = 10
"""Number of complete parts from which an incomplete last one is dropped. That is at most 9 % of an
epoch."""


class CompleteParts(Sampler[int]):
    """Sampler that draws each face once, and some again to complete the last part.

    Args:
        count: Number of faces.
        part: Faces in a part.
        generator: Draws the order; seeded before each epoch.
    """

    def __init__(self, count: int, part: int, generator: torch.Generator) -> None:
        self._count, self._more, self._generator = count, -count % part, generator

    def __len__(self) -> int:
        return self._count + self._more

    def __iter__(self) -> Iterator[int]:
        order = torch.randperm(self._count, generator=self._generator).tolist()
        if self._more:
            again = torch.randperm(self._count, generator=self._generator).tolist()
            order += again[: self._more]
        return iter(order)


def train_loader(
    recipe: Recipe,
    faces: list[LabelledFace],
    targets: Tensor,
    spec: InputSpec,
    order: torch.Generator,
    rank: int,
) -> DataLoader[Any]:
    """Return the loader of training batches.

    Batches are uint8 images ``[N, C, S, S]`` and float32 targets ``[N, classes]``.

    N is ``fit.part``. ``order`` draws the order of faces for each epoch. A large set drops its
    incomplete last part. A small one completes it with faces that are drawn again, so that no face
    is left out. ``rank`` is the number of this process: each process of a run draws its own
    augmentations.
    """
    fit = recipe.fit
    is_small = fit.part <= len(faces) < _LARGE_SET_PARTS * fit.part
    draws = len(faces) + (-len(faces) % fit.part if is_small else 0)
    sampler: Sampler[int] | None = None
    if fit.sampling == "balanced":
        # A face without a label belongs to the class that its target names.
        likeliest = targets.argmax(1).tolist()
        classes = [face.label or recipe.labels[i] for face, i in zip(faces, likeliest, strict=True)]
        count = Counter(classes)
        weights = [1 / count[name] for name in classes]
        sampler = WeightedRandomSampler(weights, draws, generator=order)
    elif is_small:
        sampler = CompleteParts(len(faces), fit.part, order)
    return DataLoader(
        FaceDataset(faces, targets, spec, augmentation(recipe.augment, spec.size_px)),
        batch_size=fit.part,
        sampler=sampler,
        shuffle=sampler is None,
        drop_last=len(faces) >= fit.part,
        num_workers=fit.workers,
        collate_fn=collate,
        worker_init_fn=partial(_start_worker, rank * fit.workers),
        generator=order,
    )


def _start_worker(before: int, worker: int) -> None:
    """Let a process that loads faces use one core, and draw random numbers of its own.

    torch seeds it with its number and a draw from ``order``, which is alike on all ranks.
    ``before`` counts such processes of lower ranks.
    """
    on_one_core(worker)
    torch.manual_seed(torch.initial_seed() + before)
