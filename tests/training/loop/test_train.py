"""A run learns, can be killed and gone on with, and says why when it cannot go on."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from fer_edge.errors import DataError, RecipeError, TrainingError
from fer_edge.shipped import FACES
from fer_edge.training.checkpoint import load_checkpoint
from fer_edge.training.config.recipe import load_recipe
from fer_edge.training.config.schema import Augment, Fit, InCar, Input, Model, Phase, Recipe
from fer_edge.training.evaluation.evaluate import evaluate
from fer_edge.training.loop.dataset import FaceDataset
from fer_edge.training.loop.train import train
from fer_edge.training.models.network import ExpressionNet

EVERYTHING = Augment(
    incar=InCar(*[0.5] * 7),
    crop_px=44,
    resized_crop=0.7,
    rotate_deg=10,
    translate=0.1,
    scale=0.1,
    perspective=0.5,
    brightness=0.2,
    contrast=0.2,
    saturation=0.2,
    blur=0.5,
    randaugment=2,
    erase=0.5,
    mixup=0.2,
    cutmix=1.0,
)


class KillError(Exception):
    """What a step callback raises in the middle of a run."""


def quiet(_: str) -> None:
    pass


def content(folder: Path) -> dict[str, bytes]:
    """Every file of a folder."""
    found = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def rows(run: Path) -> list[dict[str, Any]]:
    """metrics.jsonl without the clock."""
    found = [json.loads(line) for line in (run / "metrics.jsonl").read_text("utf-8").splitlines()]
    return [{k: v for k, v in row.items() if k != "seconds"} for row in found]


def state(run: Path) -> dict[str, Any]:
    loaded = torch.load(run / "state.pt", weights_only=True)
    assert isinstance(loaded, dict)
    return loaded


def stop_in(epoch: int) -> Callable[[str, int, int], None]:
    """A kill in the middle of an epoch."""

    def step(what: str, done: int, total: int) -> None:
        if what.startswith(f"epoch {epoch}/") and done == 2:
            raise KillError

    return step


# --- what a run leaves ---------------------------------------------------------------------------


def test_a_run_leaves_everything_that_is_known_of_it(finished: Any, recipe: Recipe) -> None:
    assert finished.best == finished.folder / "best"
    assert {path.name for path in finished.folder.iterdir()} == {
        "run.json", "recipe.yaml", "metrics.jsonl", "tensorboard", "curves.png", "state.pt", "best",
        "report.html", "report.json",
    }  # fmt: skip
    assert load_recipe(finished.folder / "recipe.yaml") == recipe
    facts = json.loads((finished.folder / "run.json").read_text("utf-8"))
    assert facts["recipe"] == json.loads(json.dumps(recipe.as_dict()))
    assert facts["data"]["train_faces"] + facts["data"]["held_out_faces"] == 84
    assert facts["data"]["dropped_twins"] == 0
    assert {"torch", "timm", "python", "device", "processes"} <= set(facts["environment"])
    assert facts["parameters"] == {"total": 201_223, "trainable": [201_223]}
    assert any("201,223 of 201,223 parameters (100.0%)" in said for said in finished.said)
    assert (finished.folder / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert [row["epoch"] for row in rows(finished.folder)] == [1, 2, 3]


def test_the_checkpoint_knows_its_recipe_data_and_epoch(finished: Any) -> None:
    best = load_checkpoint(finished.best)
    facts = json.loads((finished.folder / "run.json").read_text("utf-8"))
    assert best.facts["recipe"] == facts["recipe"]
    assert best.facts["data"] == facts["data"]
    assert best.facts["parameters"] == facts["parameters"]
    assert best.facts["licences"] == {"data": "not stated"}
    losses = [r["held_calibrated_nll"] for r in rows(finished.folder)]
    assert best.facts["epoch"] == 1 + losses.index(min(losses))
    assert 0.05 <= best.temperature <= 20
    assert 0 <= best.abstain_below <= 1


def test_tensorboard_shows_what_the_metrics_say(finished: Any) -> None:
    board = EventAccumulator(str(finished.folder / "tensorboard"))
    board.Reload()
    for tag, key in (("loss/train", "train_loss"), ("learning rate", "lr")):
        seen = [(event.step, event.value) for event in board.Scalars(tag)]
        expected = [(row["epoch"], pytest.approx(row[key])) for row in rows(finished.folder)]
        assert seen == expected


def test_progress_reaches_the_end_of_each_epoch(finished: Any) -> None:
    ends = {what: (done, total) for what, done, total in finished.steps if "epoch" in what}
    assert list(ends) == ["epoch 1/3", "epoch 2/3", "epoch 3/3"]
    assert all(done == total for done, total in ends.values())


@pytest.mark.slow
def test_it_learns(recipe: Recipe, tmp_path: Path) -> None:
    """Composites are easy: chance is 1/7, a few epochs give most of those never seen."""
    learning = replace(
        recipe,
        model=Model("test_efficientnet"),
        augment=Augment(),
        fit=Fit(epochs=4, batch=32, lr=1e-2, optimizer="adamw", workers=0),
    )
    best = train(learning, FACES, tmp_path / "run", say=quiet)
    losses = [row["train_loss"] for row in rows(tmp_path / "run")]
    assert losses[-1] < 0.5 * losses[0]
    assert evaluate(best, FACES)["all"]["accuracy"] > 0.5


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {"input": Input(48, "rgb", (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))},
        {"augment": Augment(crop_px=40, scale=0.1, brightness=0.2, contrast=0.2)},
        {"fit": Fit(epochs=1, batch=16, lr=0.01, precision="bf16", label_smoothing=0.1)},
        {"fit": Fit(epochs=1, batch=64, lr=0.01, workers=0)},
        {"fit": Fit(epochs=1, batch=16, lr=0.01, precision="fp16", workers=0)},
        {"seed": 20_261_120},
        {"augment": EVERYTHING, "input": Input(48, "rgb", (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))},
        {"augment": Augment(flip=0)},
        {"fit": Fit(1, 16, 0.01, loss="focal 2", class_weights=True, label_smoothing=0.1)},
    ],
    ids=[
        "rgb", "crop", "sgd bf16 worker", "one batch", "fp16", "large seed", "every augmentation",
        "no augmentation", "focal",
    ],
)  # fmt: skip
def test_each_option_trains(
    recipe: Recipe, few_faces: Path, tmp_path: Path, changes: dict[str, Any]
) -> None:
    one_epoch = replace(recipe, fit=replace(recipe.fit, epochs=1))
    best = train(replace(one_epoch, **changes), few_faces, tmp_path / "run", say=quiet)
    assert load_checkpoint(best).facts["epoch"] == 1


# --- data ----------------------------------------------------------------------------------------


def write_parts(folder: Path, train_rows: list[Any], val_rows: list[Any]) -> Path:
    for split, part in (("train", train_rows), ("val", val_rows)):
        table = pyarrow.Table.from_pylist(part)
        pyarrow.parquet.write_table(table, folder / f"faces-{split}.parquet")
    return folder


def few_rows(few_faces: Path) -> list[Any]:
    rows: list[Any] = pyarrow.parquet.read_table(few_faces / "faces-train.parquet").to_pylist()
    return rows


def test_twins_of_validation_pictures_are_not_trained_on(
    recipe: Recipe, few_faces: Path, tmp_path: Path
) -> None:
    source = write_parts(tmp_path, few_rows(few_faces), few_rows(few_faces)[::12])
    with pytest.raises(KillError):
        train(recipe, source, tmp_path / "run", say=quiet, step=stop_in(1))
    data = json.loads((tmp_path / "run" / "run.json").read_text("utf-8"))["data"]
    assert data["dropped_twins"] == 7
    assert data["train_faces"] + data["held_out_faces"] == 77


def test_a_damaged_validation_part_is_not_passed_over(
    recipe: Recipe, few_faces: Path, tmp_path: Path
) -> None:
    """Its twins would be trained on, and the score on it would then mean nothing."""
    source = write_parts(tmp_path, few_rows(few_faces), few_rows(few_faces)[:7])
    val = source / "faces-val.parquet"
    val.write_bytes(val.read_bytes()[:-40])
    with pytest.raises(DataError, match=r"faces-val\.parquet"):
        train(recipe, source, tmp_path / "run", say=quiet, step=stop_in(1))


def test_one_parquet_file_is_enough(recipe: Recipe, few_faces: Path, tmp_path: Path) -> None:
    with pytest.raises(KillError):  # it got as far as training
        train(
            recipe,
            few_faces / "faces-train.parquet",
            tmp_path / "run",
            say=quiet,
            step=stop_in(1),
        )


def test_a_class_with_a_single_picture_is_said(
    recipe: Recipe, few_faces: Path, tmp_path: Path
) -> None:
    rows = [row for row in few_rows(few_faces) if row["label"] != "fear"]
    rows += [row for row in few_rows(few_faces) if row["label"] == "fear"][:1]
    source = write_parts(tmp_path, rows, rows[:1])
    with pytest.raises(DataError, match="fear"):
        train(recipe, source, tmp_path / "run", say=quiet)


def test_a_broken_picture_is_named_before_training_begins(
    recipe: Recipe, few_faces: Path, tmp_path: Path
) -> None:
    rows = few_rows(few_faces)
    rows[40]["image"] = {"bytes": rows[40]["image"]["bytes"][:90], "path": None}
    with pytest.raises(DataError, match=rows[40]["name"]):
        train(recipe, write_parts(tmp_path, rows, rows[:7]), tmp_path / "run", say=quiet)
    assert not (tmp_path / "run" / "state.pt").exists()


# --- killed and resumed --------------------------------------------------------------------------


ONE_MORE = Phase("head", 1, 1e-3)
VIT = Model("test_vit", dropout=0.1, backbone_args={"img_size": 48})


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "fit", "killed_in"),
    [
        ({}, {}, [2]),
        ({}, {}, [1, 3]),
        ({}, {"workers": 1}, [2]),
        ({}, {"precision": "fp16"}, [2]),
        (
            {"augment": replace(EVERYTHING, crop_px=None)},
            {"epochs": 2, "schedule": "cosine", "sampling": "balanced"},
            [2],
        ),
        (
            {},
            {"train": "head", "epochs": 1, "then": (Phase("last 1", 2, 1e-3), ONE_MORE)},
            [2, 3],
        ),
        ({}, {"train": "gradual 1", "accumulate": 2}, [2]),
        ({}, {"schedule": "plateau 1 0.5", "warmup": 0, "ema": 0, "epochs": 4, "lr": 0.1}, [3]),
        ({}, {"lr": 0.03, "epochs": 9, "patience": 1, "confirm": 1, "schedule": "step 2 0.5"}, [2]),
        ({"model": VIT}, {"train": "lora 2", "epochs": 2, "then": (ONE_MORE,)}, [2, 3]),
    ],
    ids=[
        "once", "twice", "worker", "fp16", "augmentations and sampling", "phases", "gradual",
        "plateau", "early stopping", "lora",
    ],
)  # fmt: skip
def test_a_killed_and_resumed_run_ends_with_the_very_weights_of_an_unbroken_one(
    recipe: Recipe,
    few_faces: Path,
    finished: Any,
    tmp_path: Path,
    changes: dict[str, Any],
    fit: dict[str, Any],
    killed_in: list[int],
) -> None:
    recipe = replace(recipe, fit=replace(recipe.fit, **fit), **changes)
    unbroken = finished.folder
    if changes or fit:
        unbroken = tmp_path / "unbroken"
        train(recipe, few_faces, unbroken, say=quiet)
    run = tmp_path / "run"
    for epoch in killed_in:
        with pytest.raises(KillError):
            train(recipe, few_faces, run, resume=True, say=quiet, step=stop_in(epoch))
        assert len(rows(run)) == epoch - 1
        torch.rand(7)  # what happens between the two is no matter
    train(recipe, few_faces, run, resume=True, say=quiet)
    assert rows(run) == rows(unbroken)
    one, other = state(run), state(unbroken)
    assert one["at"] == other["at"]
    for part in ("net", "average"):
        assert set(one.get(part, ())) == set(other.get(part, ()))
        for name, tensor in one.get(part, {}).items():
            assert torch.equal(tensor, other[part][name]), name
    assert torch.equal(
        torch.cat([s["exp_avg"].ravel() for s in one["optimizer"]["state"].values()]),
        torch.cat([s["exp_avg"].ravel() for s in other["optimizer"]["state"].values()]),
    )
    assert content(run / "best") == content(unbroken / "best")


def test_a_run_is_not_trained_over(recipe: Recipe, few_faces: Path, finished: Any) -> None:
    before = content(finished.folder)
    with pytest.raises(TrainingError, match="--resume"):
        train(recipe, few_faces, finished.folder, say=quiet)
    assert content(finished.folder) == before


@pytest.mark.parametrize("other", ["seed", "epochs", "data"])
def test_a_run_is_not_resumed_with_another_recipe_or_other_data(
    recipe: Recipe, few_faces: Path, finished: Any, tmp_path: Path, other: str
) -> None:
    before, source = content(finished.folder), few_faces
    if other == "seed":
        recipe = replace(recipe, seed=2)
    elif other == "epochs":
        recipe = replace(recipe, fit=replace(recipe.fit, epochs=9))
    else:
        source = write_parts(tmp_path, few_rows(few_faces)[:-1], few_rows(few_faces)[-1:])
    with pytest.raises(TrainingError, match="another recipe or other data"):
        train(recipe, source, finished.folder, resume=True, say=quiet)
    assert content(finished.folder) == before


def test_a_finished_run_is_resumed_to_the_same_checkpoint(
    recipe: Recipe, few_faces: Path, finished: Any, tmp_path: Path
) -> None:
    run = Path(shutil.copytree(finished.folder, tmp_path / "run"))
    train(recipe, few_faces, run, resume=True, say=quiet)
    assert content(run / "best") == content(finished.best)
    assert rows(run) == rows(finished.folder)


def test_a_damaged_state_is_a_training_error(
    recipe: Recipe, few_faces: Path, finished: Any, tmp_path: Path
) -> None:
    run = Path(shutil.copytree(finished.folder, tmp_path / "run"))
    (run / "state.pt").write_bytes((run / "state.pt").read_bytes()[:1000])
    with pytest.raises(TrainingError, match=r"state\.pt"):
        train(recipe, few_faces, run, resume=True, say=quiet)


# --- what stops a run ----------------------------------------------------------------------------


def test_a_loss_that_is_not_finite_stops_and_keeps_the_best(
    recipe: Recipe, few_faces: Path, finished: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Targets turn NaN in epoch 2; once they are sound again, the run goes on from epoch 1."""
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
        train(recipe, few_faces, run, say=quiet, step=step)
    assert str(run / "best") in str(caught.value)
    assert load_checkpoint(run / "best").facts["epoch"] == 1
    assert rows(run) == rows(finished.folder)[:1]
    broken = False
    train(recipe, few_faces, run, resume=True, say=quiet)
    assert content(run / "best") == content(finished.best)


def test_no_best_epoch_is_promised_where_there_is_none(
    recipe: Recipe, few_faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = FaceDataset.__getitem__
    nan = float("nan")
    monkeypatch.setattr(
        FaceDataset, "__getitem__", lambda s, i: (plain(s, i)[0], s.targets[i] * nan)
    )
    with pytest.raises(TrainingError, match="not finite in epoch 1") as caught:
        train(recipe, few_faces, tmp_path / "run", say=quiet)
    assert "best epoch so far" not in str(caught.value)
    assert not (tmp_path / "run" / "best").exists()


def test_weights_that_grow_beyond_half_precision_are_a_training_error(
    recipe: Recipe, few_faces: Path, tmp_path: Path
) -> None:
    """With this rate the loss stays finite, and the weights become too large to be stored."""
    fit = Fit(epochs=2, batch=16, lr=100, workers=0)
    with pytest.raises(TrainingError, match=r"fit\.lr"):
        train(replace(recipe, fit=fit), few_faces, tmp_path / "run", say=quiet)


@pytest.mark.slow
@pytest.mark.parametrize(("patience", "confirm"), [(1, 0), (2, 0), (1, 1)])
def test_a_run_stops_after_epochs_without_a_better_one(
    recipe: Recipe, few_faces: Path, tmp_path: Path, patience: int, confirm: int
) -> None:
    """Eight held-out faces and a high rate: a score that jumps about."""
    fit = Fit(15, 16, 0.03, optimizer="adamw", patience=patience, confirm=confirm, workers=0)
    said: list[str] = []
    train(replace(recipe, fit=fit), few_faces, tmp_path / "run", say=said.append)
    losses = [row["held_calibrated_nll"] for row in rows(tmp_path / "run")]
    assert len(losses) < 15
    assert len(losses) - 1 - losses.index(min(losses)) == patience + confirm
    assert any("more to confirm" in sentence for sentence in said) == (confirm > 0)
    assert any("stopping early" in sentence for sentence in said)


def test_a_phase_that_stops_early_gives_way_to_the_next(
    recipe: Recipe, few_faces: Path, tmp_path: Path
) -> None:
    """The best epoch may be in any phase; patience begins anew in each."""
    fit = Fit(
        20, 16, 0.03, optimizer="adamw", patience=1, workers=0, then=(Phase("head", 2, 1e-3),)
    )
    train(replace(recipe, fit=fit), few_faces, tmp_path / "run", say=quiet)
    found = [row["phase"] for row in rows(tmp_path / "run")]
    assert found.count(1) < 20
    assert found.count(2) >= 1
    assert found == sorted(found)


def test_a_full_disk_stops_and_keeps_the_best(
    recipe: Recipe, few_faces: Path, finished: Any, tmp_path: Path
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
            train(recipe, few_faces, run, say=quiet, step=step)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert str(run) in str(caught.value)
    assert load_checkpoint(run / "best").facts["epoch"] >= 1
    train(recipe, few_faces, run, resume=True, say=quiet)
    assert content(run / "best") == content(finished.best)


def test_memory_that_runs_out_says_what_to_change(
    recipe: Recipe, few_faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The allocator's real error, from a tensor larger than any memory."""
    forward = ExpressionNet.forward

    def too_large(self: ExpressionNet, x: torch.Tensor) -> Any:
        return torch.empty(2**60) if self.training else forward(self, x)

    monkeypatch.setattr(ExpressionNet, "forward", too_large)
    with pytest.raises(TrainingError, match=r"16 faces at once.*fit\.accumulate=2"):
        train(recipe, few_faces, tmp_path / "run", say=quiet)


def test_a_picture_size_that_the_network_does_not_take_is_said(
    recipe: Recipe, few_faces: Path, tmp_path: Path
) -> None:
    with pytest.raises(RecipeError, match=r"test_vit does not take images of 44 px.*crop_px"):
        train(
            replace(recipe, model=VIT, augment=Augment(crop_px=44)), few_faces, tmp_path / "run",
            say=quiet,
        )  # fmt: skip


def test_an_unknown_backbone_is_a_recipe_error(
    recipe: Recipe, few_faces: Path, tmp_path: Path
) -> None:
    with pytest.raises(RecipeError, match="no_such_network"):
        train(replace(recipe, model=Model("no_such_network")), few_faces, tmp_path / "run")


@pytest.mark.parametrize("colour", ["grey", "rgb"])
def test_mean_and_std_have_to_fit_the_colour(
    recipe: Recipe, few_faces: Path, tmp_path: Path, colour: Any
) -> None:
    wrong = Input(48, colour, (0.5, 0.5), (0.25, 0.25))
    with pytest.raises(RecipeError, match="mean and std"):
        train(replace(recipe, input=wrong), few_faces, tmp_path / "run")


def test_a_run_folder_that_is_a_file_is_said(
    recipe: Recipe, few_faces: Path, tmp_path: Path
) -> None:
    (tmp_path / "run").write_text("a file")
    with pytest.raises(TrainingError, match="run"):
        train(recipe, few_faces, tmp_path / "run", say=quiet)
