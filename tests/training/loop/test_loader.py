"""Training batches: each process that loads faces uses one core."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from fer_edge.training.config.schema import Augment, Recipe
from fer_edge.training.data.faces import load_faces
from fer_edge.training.loop import loader
from fer_edge.training.models.network import InputSpec


@pytest.fixture
def many_threads() -> Iterator[None]:
    """OpenCV with two threads that have worked."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(2)
    cv2.GaussianBlur(np.zeros((2000, 2000), np.uint8), (0, 0), 9)
    yield
    cv2.setNumThreads(before)


def _batches(recipe: Recipe, few_faces: Path, workers: int, rank: int = 0) -> DataLoader[Any]:
    """Return batches of eight faces."""
    faces = load_faces(few_faces, "train")[:8]
    spec = InputSpec(48, "grey", (0.5,), (0.5,))
    recipe = replace(recipe, fit=replace(recipe.fit, batch=4, workers=workers))
    order = torch.Generator().manual_seed(3)
    return loader.train_loader(recipe, faces, torch.zeros(8, 7), spec, order, rank)


@pytest.mark.usefixtures("many_threads")
@pytest.mark.parametrize(("workers", "many"), [(2, False), (0, True)])
def test_processes_that_load_faces_use_one_core_each(
    recipe: Recipe, few_faces: Path, monkeypatch: pytest.MonkeyPatch, workers: int, many: bool
) -> None:
    def counted(*_: object) -> object:
        return lambda _: torch.tensor([[[cv2.getNumThreads() > 1]]])

    monkeypatch.setattr(loader, "augmentation", counted)
    batches = _batches(recipe, few_faces, workers)
    seen = torch.cat([images.flatten() for images, _ in batches])
    assert seen.tolist() == [many] * 8


def test_spawned_processes_load_the_same_faces(
    recipe: Recipe, few_faces: Path, every_augmentation: Augment
) -> None:
    recipe = replace(recipe, augment=every_augmentation)
    seen = []
    for start in ("fork", "spawn"):
        batches = _batches(recipe, few_faces, workers=1)
        batches.multiprocessing_context = start
        seen.append(torch.cat([images for images, _ in batches]))
    assert torch.equal(*seen)


def test_each_process_of_a_run_draws_its_own_augmentations(
    recipe: Recipe, few_faces: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loader, "augmentation", lambda *_: lambda _: torch.rand(1, 1, 1))
    batches = [_batches(recipe, few_faces, workers=2, rank=rank) for rank in range(3)]
    drawn = torch.cat([images.flatten() for ranks in batches for images, _ in ranks])
    assert len(drawn.unique()) == 3 * 8


def test_the_first_process_draws_as_one_alone_does(recipe: Recipe, few_faces: Path) -> None:
    recipe = replace(recipe, augment=Augment(rotate_deg=10))
    batches = [_batches(recipe, few_faces, workers=2) for _ in range(2)]
    batches[1].worker_init_fn = None
    assert torch.equal(*(torch.cat([images for images, _ in each]) for each in batches))
