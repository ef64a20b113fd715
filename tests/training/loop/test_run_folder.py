"""The run folder is claimed once, and what stops writing in it is said."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from fer_edge.errors import DataError, TrainingError
from fer_edge.lock import locked
from fer_edge.preprocess import Image
from fer_edge.training.checkpoint import load_checkpoint
from fer_edge.training.config.recipe import load_recipe
from fer_edge.training.config.schema import Recipe
from fer_edge.training.data.faces import LabelledFace
from fer_edge.training.loop import run_folder
from fer_edge.training.loop.processes import accelerator_for
from fer_edge.training.loop.run_folder import writing
from fer_edge.training.loop.train import train
from fer_edge.training.models.network import ExpressionNet


def test_a_run_is_not_trained_over(
    helpers: Any, recipe: Recipe, few_faces: Path, finished: Any
) -> None:
    before = helpers.files(finished.folder)
    with pytest.raises(TrainingError, match="--resume"):
        train(recipe, few_faces, finished.folder, say=helpers.quiet)
    assert helpers.files(finished.folder) == before


def test_a_name_that_is_not_utf_8_is_refused_before_work_begins(
    helpers: Any, recipe: Recipe, few_faces: Path, tmp_path: Path
) -> None:
    with pytest.raises(TrainingError, match=r"rt\\udce9' .*not UTF-8.*Choose another folder"):
        train(recipe, few_faces, tmp_path / "rt\udce9", say=helpers.quiet)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("resume", [False, True])
def test_two_trainings_do_not_share_a_folder(
    helpers: Any,
    recipe: Recipe,
    few_faces: Path,
    tmp_path: Path,
    undrawn: None,
    monkeypatch: pytest.MonkeyPatch,
    resume: bool,
) -> None:
    """A second training begins while the first is in its first epoch, without a state."""
    monkeypatch.setattr(run_folder, "_LINGER_S", 0)
    run, other = tmp_path / "run", replace(recipe, seed=2)
    refused: list[str] = []

    def step(what: str, done: int, total: int) -> None:
        if what.startswith("epoch 1/") and not refused:
            with pytest.raises(TrainingError, match=r"another process trains into .*with -o") as it:
                train(other, few_faces, run, resume=resume, say=helpers.quiet)
            refused.append(str(it.value))

    once = replace(recipe, fit=replace(recipe.fit, epochs=1))
    train(once, few_faces, run, say=helpers.quiet, step=step)
    assert refused
    assert json.loads((run / "run.json").read_text("utf-8"))["recipe"]["seed"] == 1
    with run_folder.alone(run, resume=False):  # and is free at the end
        pass


def test_bundles_are_written_into_the_folder_of_a_run_that_trains(tmp_path: Path) -> None:
    run = tmp_path / "run"
    with run_folder.alone(run, resume=False), locked(run / "m.fer", wait=False):
        pass
    with locked(run / "m.fer", wait=False), run_folder.alone(run, resume=False):
        pass


def test_a_resumed_run_waits_for_what_a_killed_one_left(tmp_path: Path) -> None:
    """Processes that load faces hold the lock for some seconds after their parent's end."""
    with ExitStack() as killed:
        killed.enter_context(run_folder.alone(tmp_path, resume=False))
        ends = threading.Timer(0.3, killed.close)
        ends.start()
        with run_folder.alone(tmp_path, resume=True):
            ends.join()


def test_a_run_folder_that_is_a_file_is_said(
    helpers: Any, recipe: Recipe, few_faces: Path, tmp_path: Path
) -> None:
    (tmp_path / "run").write_text("a file")
    with pytest.raises(TrainingError, match="run"):
        train(recipe, few_faces, tmp_path / "run", say=helpers.quiet)


def test_the_recipe_of_a_run_names_the_sets_it_was_trained_on(
    helpers: Any,
    recipe: Recipe,
    few_faces: Path,
    tmp_path: Path,
    undrawn: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(few_faces.parent)
    sourced = replace(
        recipe,
        data=replace(recipe.data, sources=("faces",)),
        fit=replace(recipe.fit, epochs=1),
    )
    train(sourced, f"{few_faces.name}@broken=skip", tmp_path / "run", say=helpers.quiet)
    written = load_recipe(tmp_path / "run" / "recipe.yaml")
    assert written.data.sources == (f"{Path.cwd() / few_faces.name}@broken=skip",)
    facts = json.loads((tmp_path / "run" / "run.json").read_text("utf-8"))
    assert facts["recipe"]["data"]["sources"] == ["faces"]
    train(written, written.data.sources, tmp_path / "run", resume=True, say=helpers.quiet)


@pytest.mark.parametrize("name", ["run.json", "recipe.yaml", "metrics.jsonl"])
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_kill_as_a_resumed_run_begins_tears_no_file(
    helpers: Any, recipe: Recipe, few_faces: Path, finished: Any, tmp_path: Path, name: str
) -> None:
    run = Path(shutil.copytree(finished.folder, tmp_path / "run"))
    before = helpers.files(run)
    facts = json.loads(before["run.json"])
    del facts["environment"]
    accelerator = accelerator_for(recipe.fit)

    def resume() -> None:
        with writing(recipe, run, facts, accelerator, recipe.fit.epochs):
            pass

    _die_while_writing(name, resume)
    after = helpers.files(run)
    for kept in ("run.json", "recipe.yaml", "metrics.jsonl"):
        assert after[kept] == before[kept]
    resume()
    assert not [path for path in run.iterdir() if path.name.endswith(".tmp")]
    assert helpers.rows(run) == helpers.rows(finished.folder)


def _die_while_writing(name: str, resume: Callable[[], None]) -> None:
    """Call resume() in a forked child; die of SIGXFSZ as it writes the file after 64 bytes."""
    resource = pytest.importorskip("resource")

    def limit(event: str, args: tuple[Any, ...]) -> None:
        if event == "open" and name in str(args[0]) and args[2] & (os.O_WRONLY | os.O_RDWR):
            resource.setrlimit(resource.RLIMIT_FSIZE, (64, 64))

    child = os.fork()
    if child == 0:
        signal.alarm(60)
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        sys.addaudithook(limit)
        try:
            resume()
        finally:
            os._exit(1)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGXFSZ, name


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


@pytest.mark.parametrize(
    ("raised", "error", "words"),
    [
        (DataError("a.png is gone. Copy it again"), DataError, r"^a\.png is gone\. Copy it again$"),
        (OSError(5, "Input/output error"), TrainingError, r"faces failed: .*Input.*workers=0"),
    ],
)
def test_an_error_of_a_process_that_loads_faces_is_a_sentence(
    helpers: Any,
    recipe: Recipe,
    few_faces: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    raised: Exception,
    error: type[Exception],
    words: str,
) -> None:
    read = LabelledFace.read

    def broken(self: LabelledFace) -> Image:
        if torch.utils.data.get_worker_info() is None:
            return read(self)
        raise raised

    monkeypatch.setattr(LabelledFace, "read", broken)
    recipe = replace(recipe, fit=replace(recipe.fit, workers=1))
    with pytest.raises(error, match=words) as caught:
        train(recipe, few_faces, tmp_path / "run", say=helpers.quiet)
    assert "\n" not in str(caught.value)


def test_a_process_that_loads_faces_and_is_killed_is_a_sentence(
    helpers: Any, recipe: Recipe, few_faces: Path, tmp_path: Path
) -> None:
    def step(what: str, done: int, total: int) -> None:
        if what.startswith("epoch 2/"):
            for child in multiprocessing.active_children():
                child.kill()
                child.join()

    recipe = replace(recipe, fit=replace(recipe.fit, workers=1, batch=4))
    with pytest.raises(TrainingError, match=r"faces failed: .*continue with --resume.*best"):
        train(recipe, few_faces, tmp_path / "run", say=helpers.quiet, step=step)
