"""The run folder is claimed once, and what stops writing in it is said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from fer_edge.errors import TrainingError
from fer_edge.training.checkpoint import load_checkpoint
from fer_edge.training.config.schema import Recipe
from fer_edge.training.loop.train import train
from fer_edge.training.models.network import ExpressionNet


def test_a_run_is_not_trained_over(
    helpers: Any, recipe: Recipe, few_faces: Path, finished: Any
) -> None:
    before = helpers.files(finished.folder)
    with pytest.raises(TrainingError, match="--resume"):
        train(recipe, few_faces, finished.folder, say=helpers.quiet)
    assert helpers.files(finished.folder) == before


def test_a_run_folder_that_is_a_file_is_said(
    helpers: Any, recipe: Recipe, few_faces: Path, tmp_path: Path
) -> None:
    (tmp_path / "run").write_text("a file")
    with pytest.raises(TrainingError, match="run"):
        train(recipe, few_faces, tmp_path / "run", say=helpers.quiet)


def test_tensorboard_shows_what_the_metrics_say(helpers: Any, finished: Any) -> None:
    board = EventAccumulator(str(finished.folder / "tensorboard"))
    board.Reload()
    for tag, key in (("loss/train", "train_loss"), ("learning rate", "lr")):
        seen = [(event.step, event.value) for event in board.Scalars(tag)]
        expected = [
            (row["epoch"], pytest.approx(row[key])) for row in helpers.rows(finished.folder)
        ]
        assert seen == expected


def test_a_full_disk_stops_and_keeps_the_best(
    helpers: Any, recipe: Recipe, few_faces: Path, finished: Any, tmp_path: Path
) -> None:
    """From epoch 2 on no file may grow beyond 100 kB; once it may, the run goes on."""
    resource = pytest.importorskip("resource")
    run, before = tmp_path / "run", resource.getrlimit(resource.RLIMIT_FSIZE)

    def step(what: str, done: int, total: int) -> None:
        if what.startswith("epoch 2/"):
            resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))

    try:
        with pytest.raises(
            TrainingError, match=r"Make room and continue with --resume.*best"
        ) as caught:
            train(recipe, few_faces, run, say=helpers.quiet, step=step)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert str(run) in str(caught.value)
    assert load_checkpoint(run / "best").facts["epoch"] >= 1
    train(recipe, few_faces, run, resume=True, say=helpers.quiet)
    assert helpers.files(run / "best") == helpers.files(finished.best)


def test_memory_that_runs_out_says_what_to_change(
    helpers: Any, recipe: Recipe, few_faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The allocator's real error, from a tensor larger than any memory."""
    forward = ExpressionNet.forward

    def too_large(self: ExpressionNet, x: torch.Tensor) -> Any:
        return torch.empty(2**60) if self.training else forward(self, x)

    monkeypatch.setattr(ExpressionNet, "forward", too_large)
    with pytest.raises(TrainingError, match=r"16 faces at once.*fit\.accumulate=2"):
        train(recipe, few_faces, tmp_path / "run", say=helpers.quiet)
