"""A run learns, and leaves everything that is known of it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fer_edge.errors import DataError
from fer_edge.shipped import FACES
from fer_edge.training.checkpoint import load_checkpoint
from fer_edge.training.config.recipe import load_recipe
from fer_edge.training.config.schema import Augment, Fit, Input, Model, Recipe
from fer_edge.training.evaluation.evaluate import evaluate
from fer_edge.training.loop.train import train

RGB = Input(48, "rgb", (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))


# --- what a run leaves ---------------------------------------------------------------------------


def test_a_run_leaves_everything_that_is_known_of_it(
    helpers: Any, finished: Any, recipe: Recipe
) -> None:
    assert finished.best == finished.folder / "best"
    files = "run.json recipe.yaml metrics.jsonl curves.png state.pt report.html report.json"
    found = {path.name for path in finished.folder.iterdir()}
    assert found == {*files.split(), "tensorboard", "best"}
    assert load_recipe(finished.folder / "recipe.yaml") == recipe
    facts = json.loads((finished.folder / "run.json").read_text("utf-8"))
    assert facts["recipe"] == json.loads(json.dumps(recipe.as_dict()))
    assert facts["data"]["train_faces"] + facts["data"]["held_out_faces"] == 84
    assert facts["data"]["dropped_twins"] == 0
    assert {"torch", "timm", "python", "device", "processes"} <= set(facts["environment"])
    assert facts["parameters"] == {"total": 201_223, "trainable": [201_223]}
    assert any("201,223 of 201,223 parameters (100.0%)" in said for said in finished.said)
    assert (finished.folder / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert [row["epoch"] for row in helpers.rows(finished.folder)] == [1, 2, 3]


def test_the_learning_rate_is_that_of_the_last_step(
    helpers: Any, finished: Any, recipe: Recipe
) -> None:
    """A one-cycle schedule ends at 1/25 of 1e-4 of its peak; one step further it rises again."""
    assert recipe.fit.schedule == "onecycle"
    rates = [row["lr"] for row in helpers.rows(finished.folder)]
    assert rates[-1] == pytest.approx(recipe.fit.lr / 25 / 1e4)


def test_the_checkpoint_knows_its_recipe_data_and_epoch(helpers: Any, finished: Any) -> None:
    best = load_checkpoint(finished.best)
    facts = json.loads((finished.folder / "run.json").read_text("utf-8"))
    assert best.facts["recipe"] == facts["recipe"]
    assert best.facts["data"] == facts["data"]
    assert best.facts["parameters"] == facts["parameters"]
    assert best.facts["licences"] == {"data": "not stated"}
    losses = [r["held_calibrated_nll"] for r in helpers.rows(finished.folder)]
    assert best.facts["epoch"] == 1 + losses.index(min(losses))
    assert 0.05 <= best.temperature <= 20
    assert 0 <= best.abstain_below <= 1


def test_progress_reaches_the_end_of_each_epoch(finished: Any) -> None:
    ends = {what: (done, total) for what, done, total in finished.steps if "epoch" in what}
    assert list(ends) == ["epoch 1/3", "epoch 2/3", "epoch 3/3"]
    assert all(done == total for done, total in ends.values())


# --- options -------------------------------------------------------------------------------------


@pytest.mark.slow
def test_it_learns(helpers: Any, recipe: Recipe, tmp_path: Path) -> None:
    """Composites are easy: chance is 1/7, a few epochs give most of those never seen."""
    learning = replace(
        recipe,
        model=Model("test_efficientnet"),
        augment=Augment(),
        fit=Fit(epochs=4, batch=32, lr=1e-2, optimizer="adamw", workers=0),
    )
    best = train(learning, FACES, tmp_path / "run", say=helpers.quiet)
    losses = [row["train_loss"] for row in helpers.rows(tmp_path / "run")]
    assert losses[-1] < 0.5 * losses[0]
    assert evaluate(best, FACES)["all"]["accuracy"] > 0.5


OPTIONS: dict[str, dict[str, Any]] = {
    "rgb": {"input": RGB},
    "crop": {"augment": Augment(crop_px=40, scale=0.1, brightness=0.2, contrast=0.2)},
    "sgd bf16 worker": {"fit": Fit(1, 16, 0.01, precision="bf16", label_smoothing=0.1)},
    "one batch": {"fit": Fit(1, 64, 0.01, workers=0)},
    "fp16": {"fit": Fit(1, 16, 0.01, precision="fp16", workers=0)},
    "large seed": {"seed": 20_261_120},
    "no augmentation": {"augment": Augment(flip=0)},
    "focal": {"fit": Fit(1, 16, 0.01, loss="focal 2", class_weights=True, label_smoothing=0.1)},
}


@pytest.mark.slow
@pytest.mark.parametrize("option", OPTIONS)
def test_each_option_trains(
    helpers: Any, recipe: Recipe, few_faces: Path, tmp_path: Path, option: str
) -> None:
    one_epoch = replace(recipe, fit=replace(recipe.fit, epochs=1))
    changed = replace(one_epoch, **OPTIONS[option])
    best = train(changed, few_faces, tmp_path / "run", say=helpers.quiet)
    assert load_checkpoint(best).facts["epoch"] == 1


@pytest.mark.slow
def test_every_augmentation_trains(
    helpers: Any, recipe: Recipe, every_augmentation: Augment, few_faces: Path, tmp_path: Path
) -> None:
    one_epoch = replace(recipe, fit=replace(recipe.fit, epochs=1))
    changed = replace(one_epoch, input=RGB, augment=every_augmentation)
    best = train(changed, few_faces, tmp_path / "run", say=helpers.quiet)
    assert load_checkpoint(best).facts["epoch"] == 1


# --- data ----------------------------------------------------------------------------------------


def test_duplicates_of_validation_images_are_not_trained_on(
    helpers: Any, recipe: Recipe, few_faces: Path, tmp_path: Path
) -> None:
    source = helpers.write_parts(
        tmp_path, helpers.few_rows(few_faces), helpers.few_rows(few_faces)[::12]
    )
    with pytest.raises(helpers.KillError):
        train(recipe, source, tmp_path / "run", say=helpers.quiet, step=helpers.stop_in(1))
    data = json.loads((tmp_path / "run" / "run.json").read_text("utf-8"))["data"]
    assert data["dropped_twins"] == 7
    assert data["train_faces"] + data["held_out_faces"] == 77


def test_a_damaged_validation_part_is_not_passed_over(
    helpers: Any, recipe: Recipe, few_faces: Path, tmp_path: Path
) -> None:
    """Its duplicates would be trained on, and the score on it would mean nothing."""
    source = helpers.write_parts(
        tmp_path, helpers.few_rows(few_faces), helpers.few_rows(few_faces)[:7]
    )
    val = source / "faces-val.parquet"
    val.write_bytes(val.read_bytes()[:-40])
    with pytest.raises(DataError, match=r"faces-val\.parquet"):
        train(recipe, source, tmp_path / "run", say=helpers.quiet, step=helpers.stop_in(1))


def test_one_face_to_train_on_is_too_few(
    helpers: Any, recipe: Recipe, few_faces: Path, tmp_path: Path
) -> None:
    helpers.write_parts(tmp_path, helpers.few_rows(few_faces)[:2], [])
    (tmp_path / "faces-val.parquet").unlink()
    normed = replace(recipe, model=replace(recipe.model, neck=("linear 8", "batchnorm")))
    with pytest.raises(DataError, match=r"at least 2 faces to train on, got 1\. Add"):
        train(normed, tmp_path, tmp_path / "run", say=helpers.quiet)


def test_one_parquet_file_is_enough(
    helpers: Any, recipe: Recipe, few_faces: Path, tmp_path: Path
) -> None:
    with pytest.raises(helpers.KillError):  # it got as far as training
        train(
            recipe,
            few_faces / "faces-train.parquet",
            tmp_path / "run",
            say=helpers.quiet,
            step=helpers.stop_in(1),
        )


def test_a_class_with_a_single_picture_is_said(
    helpers: Any, recipe: Recipe, few_faces: Path, tmp_path: Path
) -> None:
    rows = [row for row in helpers.few_rows(few_faces) if row["label"] != "fear"]
    rows += [row for row in helpers.few_rows(few_faces) if row["label"] == "fear"][:1]
    source = helpers.write_parts(tmp_path, rows, rows[:1])
    with pytest.raises(DataError, match="fear"):
        train(recipe, source, tmp_path / "run", say=helpers.quiet)


def test_a_broken_picture_is_named_before_training_begins(
    helpers: Any, recipe: Recipe, few_faces: Path, tmp_path: Path
) -> None:
    rows = helpers.few_rows(few_faces)
    rows[40]["image"] = {"bytes": rows[40]["image"]["bytes"][:90], "path": None}
    with pytest.raises(DataError, match=rows[40]["name"]):
        train(
            recipe,
            helpers.write_parts(tmp_path, rows, rows[:7]),
            tmp_path / "run",
            say=helpers.quiet,
        )
    assert not (tmp_path / "run" / "state.pt").exists()
