"""Epochs and phases end early, and a loss that is not finite ends the run."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.optim.optimizer import register_optimizer_step_pre_hook

from fer_edge.errors import RecipeError, TrainingError
from fer_edge.training.checkpoint import load_checkpoint
from fer_edge.training.config.schema import Fit, Phase, Recipe
from fer_edge.training.loop import loader_waits
from fer_edge.training.loop import train as train_module
from fer_edge.training.loop.dataset import FaceDataset
from fer_edge.training.loop.train import train

pytestmark = pytest.mark.usefixtures("undrawn")


def test_a_loss_that_is_not_finite_stops_and_keeps_the_best(
    helpers: Any,
    recipe: Recipe,
    few_faces: Path,
    finished: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Targets turn NaN in epoch 2; once they are finite again, the run goes on from epoch 1."""
    plain, broken = FaceDataset.__getitem__, False

    def item(self: FaceDataset, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        pixels, target = plain(self, index)
        return pixels, target * float("nan") if broken else target

    def step(what: str, done: int, total: int) -> None:
        nonlocal broken
        broken = broken or (what == "epoch 1/3" and done == total)

    monkeypatch.setattr(FaceDataset, "__getitem__", item)
    run = tmp_path / "run"
    with pytest.raises(TrainingError, match="not finite in epoch 2") as caught:
        train(recipe, few_faces, run, say=helpers.quiet, step=step)
    assert str(run / "best") in str(caught.value)
    assert load_checkpoint(run / "best").facts["epoch"] == 1
    assert helpers.rows(run) == helpers.rows(finished.folder)[:1]
    broken = False
    train(recipe, few_faces, run, resume=True, say=helpers.quiet)
    assert helpers.files(run / "best") == helpers.files(finished.best)


def test_no_best_epoch_is_promised_where_there_is_none(
    helpers: Any, recipe: Recipe, few_faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = FaceDataset.__getitem__
    nan = float("nan")
    monkeypatch.setattr(
        FaceDataset, "__getitem__", lambda s, i: (plain(s, i)[0], s.targets[i] * nan)
    )
    with pytest.raises(TrainingError, match="not finite in epoch 1") as caught:
        train(recipe, few_faces, tmp_path / "run", say=helpers.quiet)
    assert "best epoch so far" not in str(caught.value)
    assert not (tmp_path / "run" / "best").exists()


@pytest.mark.slow
@pytest.mark.parametrize(("patience", "confirm"), [(1, 0), (2, 0), (1, 1)])
def test_a_run_stops_after_epochs_without_a_better_one(
    helpers: Any, recipe: Recipe, few_faces: Path, tmp_path: Path, patience: int, confirm: int
) -> None:
    """Eight held-out faces and a high rate: a score that jumps about."""
    fit = Fit(15, 16, 0.03, optimizer="adamw", patience=patience, confirm=confirm, workers=0)
    said: list[str] = []
    train(replace(recipe, fit=fit), few_faces, tmp_path / "run", say=said.append)
    losses = [row["held_calibrated_nll"] for row in helpers.rows(tmp_path / "run")]
    assert len(losses) < 15
    assert len(losses) - 1 - losses.index(min(losses)) == patience + confirm
    assert any("more to confirm" in sentence for sentence in said) == (confirm > 0)
    assert any("stopping early" in sentence for sentence in said)


def test_a_phase_that_stops_early_gives_way_to_the_next(
    helpers: Any, recipe: Recipe, few_faces: Path, tmp_path: Path
) -> None:
    """The best epoch may be in any phase; patience begins again in each."""
    fit = Fit(
        20, 16, 0.03, optimizer="adamw", patience=1, workers=0, then=(Phase("head", 2, 1e-3),)
    )
    train(replace(recipe, fit=fit), few_faces, tmp_path / "run", say=helpers.quiet)
    found = [row["phase"] for row in helpers.rows(tmp_path / "run")]
    assert found.count(1) < 20
    assert found.count(2) >= 1
    assert found == sorted(found)


def test_a_run_that_waits_for_faces_says_so_once(
    recipe: Recipe, few_faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, now = FaceDataset.__getitem__, [100.0]

    def slow(self: FaceDataset, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        now[0] += 1
        return plain(self, index)

    monkeypatch.setattr(FaceDataset, "__getitem__", slow)
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(loader_waits, "usable_cores", lambda: 8)
    said: list[str] = []
    train(
        replace(recipe, fit=replace(recipe.fit, epochs=2)),
        few_faces,
        tmp_path / "run",
        say=said.append,
    )
    assert [text for text in said if "waiting for faces" in text and "fit.workers=7" in text]
    assert sum("waiting for faces" in text for text in said) == 1


@pytest.mark.parametrize("accumulate", [1, 4])
def test_an_update_has_the_mean_gradient_of_its_parts(
    helpers: Any,
    recipe: Recipe,
    few_faces: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    accumulate: int,
) -> None:
    """With 4, an epoch has 19 parts: the last update has three."""
    gradients: list[float] = []

    def note(optimizer: torch.optim.Optimizer, *_: Any) -> None:
        # The optimiser that fits the temperature has no such parameter.
        biases = [p for g in optimizer.param_groups for p in g["params"] if p.shape == (7,)]
        gradients.extend(float(bias.grad[0]) for bias in biases)

    monkeypatch.setattr(train_module, "loss_function", lambda *_: lambda x, _: x[:, 0].mean())
    hook = register_optimizer_step_pre_hook(note)
    fit = replace(recipe.fit, epochs=1, accumulate=accumulate, grad_clip=None)
    try:
        train(replace(recipe, fit=fit), few_faces, tmp_path / "run", say=helpers.quiet)
    finally:
        hook.remove()
    assert len(gradients) > 1
    assert gradients == pytest.approx([1.0] * len(gradients))


def test_a_batch_norm_that_gets_one_face_is_a_recipe_error(
    helpers: Any, recipe: Recipe, few_faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As for two processes that share a batch of 2."""
    monkeypatch.setattr(Fit, "part", 1)
    normed = replace(recipe, model=replace(recipe.model, neck=("linear 8", "batchnorm")))
    with pytest.raises(RecipeError, match=r"one face at a time.*Raise fit\.batch, or use fewer"):
        train(normed, few_faces, tmp_path / "run", say=helpers.quiet)
