"""Training batches: each process that loads faces uses one core."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from fer_edge.training.config.schema import Recipe
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


@pytest.mark.usefixtures("many_threads")
@pytest.mark.parametrize(("workers", "many"), [(2, False), (0, True)])
def test_processes_that_load_faces_use_one_core_each(
    recipe: Recipe, few_faces: Path, monkeypatch: pytest.MonkeyPatch, workers: int, many: bool
) -> None:
    def counted(*_: object) -> object:
        return lambda _: torch.tensor([[[cv2.getNumThreads() > 1]]])

    monkeypatch.setattr(loader, "augmentation", counted)
    faces = load_faces(few_faces, "train")[:8]
    spec = InputSpec(48, "grey", (0.5,), (0.5,))
    fit = replace(recipe.fit, batch=4, workers=workers)
    batches = loader.train_loader(
        replace(recipe, fit=fit), faces, torch.zeros(8, 7), spec, torch.Generator()
    )
    seen = torch.cat([images.flatten() for images, _ in batches])
    assert seen.tolist() == [many] * 8
