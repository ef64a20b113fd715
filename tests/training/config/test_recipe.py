"""A recipe is read strictly: what is wrong in it is named before anything runs."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from fer_edge.errors import FerEdgeError, RecipeError
from fer_edge.labels import EMOTIONS, EMOTIONS_8
from fer_edge.training.config.recipe import RECIPE_DIR, load_recipe

SHIPPED = sorted(path.stem for path in RECIPE_DIR.glob("*.yaml"))


@pytest.fixture
def content() -> dict[str, Any]:
    """A recipe with the least that one must say."""
    return {
        "name": "least",
        "seed": 1,
        "model": {"backbone": "test_byobnet"},
        "input": {"size_px": 48, "colour": "grey", "mean": [0.5], "std": [0.25]},
        "data": {},
        "augment": {},
        "fit": {"epochs": 2, "batch": 32, "lr": 0.01},
    }


@pytest.fixture
def write(tmp_path: Path) -> Any:
    def as_yaml(content: Any) -> Path:
        path = tmp_path / "recipe.yaml"
        path.write_text(content if isinstance(content, str) else yaml.safe_dump(content), "utf-8")
        return path

    return as_yaml


def test_a_recipe_ships() -> None:
    assert "edge-default" in SHIPPED


def test_umlauts_of_labels_are_one_character(content: dict[str, Any], write: Any) -> None:
    recipe = load_recipe(write(content | {"labels": ["schla\u0308frig", "wach"]}))
    assert recipe.labels == ("schl\u00e4frig", "wach")


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_recipes_load_by_name_and_by_path(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe == load_recipe(RECIPE_DIR / f"{name}.yaml")
    assert recipe.name == name
    json.dumps(recipe.as_dict(), allow_nan=False)


def test_a_folder_of_the_same_name_does_not_hide_a_shipped_recipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "edge-default").mkdir()  # as in the folder "runs"
    monkeypatch.chdir(tmp_path)
    assert load_recipe("edge-default").name == "edge-default"


def test_what_a_recipe_does_not_say_has_defaults(content: dict[str, Any], write: Any) -> None:
    recipe = load_recipe(write(content))
    assert recipe.labels == EMOTIONS
    assert (recipe.augment.mixup, recipe.augment.crop_px) == (0.0, None)
    assert recipe.input.mean == (0.5,)
    assert recipe.fit.precision == "fp32"


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        (None, "nmae", "typo"),
        ("fit", "learning_rate", 0.1),
        ("model", "pretrain", True),
        ("input", "size", 48),
        ("data", "split", "train"),
        ("augment", "bluur", 1.0),
        ("fit", "phases", []),
    ],
)
def test_an_unknown_key_is_named(
    content: dict[str, Any], write: Any, section: str | None, key: str, value: object
) -> None:
    (content[section] if section else content)[key] = value
    with pytest.raises(
        RecipeError, match=rf"unknown key {key} in recipe{f'.{section}' * bool(section)}"
    ):
        load_recipe(write(content))


WRONG_TYPES = [
    ("seed", "one"),
    ("seed", 1.5),
    ("name", 3),
    ("model.backbone", ["test_byobnet"]),
    ("model.backbone_args", "wide"),
    ("input.size_px", "48"),
    ("input.colour", "gray"),
    ("input.mean", 0.5),
    ("input.mean", []),
    ("input.mean", ["half"]),
    ("fit.epochs", True),
    ("fit.epochs", 2.5),
    ("fit.lr", "fast"),
    ("fit.lr", True),
    ("fit.compile", "yes please"),
    ("fit.optimizer", "lion"),
    ("fit.precision", "int8"),
    ("augment.crop_px", 4.5),
    ("fit.then", 3),
    ("fit.then", [3]),
    ("fit.then", [{"train": "full"}]),
    ("augment.incar", True),
    ("augment.incar", {"fog": 0.5}),
    ("fit", 3),
    ("fit", None),
]

OUT_OF_RANGE = [
    ("seed", -1),
    ("data.holdout", 0.0),
    ("data.holdout", 0.9),
    ("data.soft_weight", -0.1),
    ("data.soft_weight", 1.1),
    ("fit.epochs", 0),
    ("fit.batch", 1),
    ("fit.lr", 0.0),
    ("fit.lr", float("nan")),
    ("fit.ema", 1.0),
    ("fit.patience", 0),
    ("fit.workers", -1),
    ("fit.warmup", 1.5),
    ("fit.label_smoothing", 2.0),
    ("fit.weight_decay", -1.0),
    ("model.dropout", 1.5),
    ("augment.flip", 2.0),
    ("augment.erase", -0.5),
    ("augment.crop_px", 64),
    ("augment.resized_crop", 0.0),
    ("augment.rotate_deg", -5.0),
    ("augment.mixup", -0.2),
    ("augment.incar", {"mask": 1.5}),
    ("fit.then", [{"train": "full", "epochs": 0, "lr": 0.1}]),
    ("fit.then", [{"train": "everything", "epochs": 1, "lr": 0.1}]),
    ("fit.train", "last"),
    ("fit.train", "last 0"),
    ("fit.train", "last two"),
    ("fit.train", "head 2"),
    ("fit.schedule", "linear"),
    ("fit.schedule", "step 10"),
    ("fit.schedule", "step 10 1.5"),
    ("fit.schedule", "plateau 3 0"),
    ("fit.schedule", "plateau 3 0.5"),
    ("fit.loss", "focal"),
    ("fit.loss", "hinge"),
    ("fit.sampling", "random"),
    ("fit.accumulate", 0),
    ("fit.accumulate", 3),
    ("fit.accumulate", 32),
    ("fit.min_delta", -1.0),
    ("fit.confirm", -1),
    ("fit.grad_clip", 0.0),
    ("input.size_px", 8),
]


@pytest.mark.parametrize(("key", "value"), [*WRONG_TYPES, *OUT_OF_RANGE])
def test_a_value_that_cannot_be_is_named_by_its_key(
    content: dict[str, Any], write: Any, key: str, value: object
) -> None:
    *sections, last = key.split(".")
    (content[sections[0]] if sections else content)[last] = value
    with pytest.raises(RecipeError, match=re.escape(key)):
        load_recipe(write(content))


def test_what_contradicts_itself_is_said(content: dict[str, Any], write: Any) -> None:
    content["model"] |= {"pretrained": True, "weights": "imagenet.safetensors"}
    with pytest.raises(RecipeError, match=r"model\.pretrained or model\.weights"):
        load_recipe(write(content))


def test_phases_follow_one_another(content: dict[str, Any], write: Any) -> None:
    content["fit"] |= {"train": "head", "then": [{"train": "last 2", "epochs": 4, "lr": "1e-3"}]}
    first, second = load_recipe(write(content)).fit.phases
    assert (first.train, first.epochs, first.lr) == ("head", 2, 0.01)
    assert (second.train, second.epochs, second.lr) == ("last 2", 4, 0.001)


def test_changes_of_a_car_are_set_one_by_one(content: dict[str, Any], write: Any) -> None:
    changed = load_recipe(write(content), ("augment.incar.mask=0.25", "augment.incar.half_lit=1"))
    assert (changed.augment.incar.mask, changed.augment.incar.half_lit) == (0.25, 1.0)
    assert changed.augment.incar.sunglasses == 0


@pytest.mark.parametrize("section", ["model", "input", "fit", "seed"])
def test_a_missing_section_is_named(content: dict[str, Any], write: Any, section: str) -> None:
    del content[section]
    with pytest.raises(RecipeError, match=section):
        load_recipe(write(content))


@pytest.mark.parametrize("labels", [["Happy", "sad"], ["anger", " fear"], ["anger", "anger"]])
def test_labels_have_to_be_canonical(
    content: dict[str, Any], write: Any, labels: list[str]
) -> None:
    content["labels"] = labels
    with pytest.raises(FerEdgeError, match=f"{labels[-1]}") as caught:
        load_recipe(write(content))
    assert caught.value.exit_code == RecipeError.exit_code


def test_labels_may_be_eight_or_the_users_own(content: dict[str, Any], write: Any) -> None:
    for labels in (EMOTIONS_8, ("alert", "drowsy", "happiness")):
        content["labels"] = list(labels)
        assert load_recipe(write(content)).labels == labels


@pytest.mark.parametrize("text", ["", "- a\n- b\n", "fit: {", "\x00"])
def test_what_is_no_recipe_is_refused(write: Any, text: str) -> None:
    with pytest.raises(RecipeError, match=r"recipe\.yaml"):
        load_recipe(write(text))


@pytest.mark.parametrize("name", ["nowhere.yaml", "no-such-recipe", "a" * 300, "a\0b", "\ud800"])
def test_a_missing_recipe_is_named_with_those_that_ship(name: str) -> None:
    printed = re.escape(name.encode("utf-8", "backslashreplace").decode())
    with pytest.raises(RecipeError, match=rf"{printed}.*edge-default"):
        load_recipe(name)


def test_a_directory_is_no_recipe(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=re.escape(str(tmp_path))):
        load_recipe(tmp_path)


# --- overrides -----------------------------------------------------------------------------------


def test_overrides_change_what_they_name_and_nothing_else(
    content: dict[str, Any], write: Any
) -> None:
    path = write(content)
    changed = load_recipe(path, ("fit.epochs=7", "seed=3", "input.std=[0.5]", "augment.crop_px=40"))
    assert (changed.fit.epochs, changed.seed, changed.augment.crop_px) == (7, 3, 40)
    assert changed.input.std == (0.5,)
    back = ("fit.epochs=2", "seed=1", "input.std=[0.25]", "augment.crop_px=null")
    assert load_recipe(path, back) == load_recipe(path)


def test_the_last_override_wins(content: dict[str, Any], write: Any) -> None:
    assert load_recipe(write(content), ("seed=3", "seed=4")).seed == 4


@pytest.mark.parametrize("written", ["0.001", "1.0e-3", "1e-3", "1E-3"])
def test_numbers_may_be_written_as_people_write_them(
    content: dict[str, Any], write: Any, written: str
) -> None:
    assert load_recipe(write(content), (f"fit.lr={written}",)).fit.lr == 0.001


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("fit.epochs", "fit.epochs"),
        ("fit.=3", "fit."),
        ("=3", "=3"),
        ("fit.epochs.more=3", "epochs"),
        ("fit.epochs=many", "fit.epochs"),
        ("fit.epochs=", "fit.epochs"),
        ("fit.epochs=[", "fit.epochs"),
        ("fit.epochz=3", "epochz"),
        ("training.epochs=3", "training"),
    ],
)
def test_a_bad_override_is_named(
    content: dict[str, Any], write: Any, override: str, named: str
) -> None:
    with pytest.raises(RecipeError, match=re.escape(named)):
        load_recipe(write(content), (override,))
