"""Short names of initial weights: shipped checkpoints, and timm's."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import fer_edge.shipped
from fer_edge.errors import RecipeError
from fer_edge.shipped import DEFAULT_CHECKPOINT
from fer_edge.training.config.recipe import load_recipe
from fer_edge.training.config.start_weights import weights_file
from fer_edge.training.models.from_recipe import build_network


def test_default_is_the_shipped_checkpoint() -> None:
    assert weights_file("default") == DEFAULT_CHECKPOINT / "model.safetensors"
    assert weights_file(str(DEFAULT_CHECKPOINT)) == DEFAULT_CHECKPOINT / "model.safetensors"
    assert load_recipe("finetune").model.weights == "default"


def test_a_path_of_that_name_is_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "default").write_bytes(b"")
    assert weights_file("./default") == Path("default")
    assert weights_file("default") == DEFAULT_CHECKPOINT / "model.safetensors"


def test_what_is_missing_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fer_edge.shipped, "_MODELS", tmp_path)
    with pytest.raises(RecipeError, match=r"no checkpoint 'default'.*--weights imagenet"):
        load_recipe("finetune", ("model.weights=default",))
    with pytest.raises(RecipeError, match=r"nowhere.pt.*default, fast, imagenet"):
        weights_file(str(tmp_path / "nowhere.pt"))
    with pytest.raises(RecipeError, match="cannot read weights"):
        weights_file("a" * 300)


def test_a_recipe_takes_the_network_of_the_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fer_edge.shipped, "_MODELS", tmp_path)
    shutil.copytree(DEFAULT_CHECKPOINT, tmp_path / "default-checkpoint")
    card = json.loads((tmp_path / "default-checkpoint" / "card.json").read_text("utf-8"))
    card["model"] |= {"backbone": "mobilenetv2_050"}
    card["model"]["input"]["size_px"] = 96
    (tmp_path / "default-checkpoint" / "card.json").write_text(json.dumps(card), "utf-8")
    recipe = load_recipe("finetune", ("model.weights=default",))
    assert recipe.model.backbone == "mobilenetv2_050"
    assert (recipe.input.size_px, recipe.augment.crop_px) == (96, 84)


def test_a_recipe_whose_network_is_a_part_of_the_checkpoint_s_keeps_it() -> None:
    recipe = load_recipe("edge-fast", ("model.weights=default",))
    assert (recipe.model.backbone, recipe.input.size_px) == ("mobilenetv2_stride16", 80)
    net, account = build_network(recipe, lambda _: None)
    assert account is not None
    assert account["reshaped"] == ["conv_head.weight"]
    assert not account["missing"]
    assert sum(p.numel() for p in net.parameters()) == 676_359


def test_a_recipe_of_more_layers_than_the_checkpoint_takes_its_network() -> None:
    recipe = load_recipe("finetune", ("model.weights=fast",))
    assert (recipe.model.backbone, recipe.input.size_px) == ("mobilenetv2_stride16", 80)


def test_a_network_that_is_replaced_is_said() -> None:
    said: list[str] = []
    recipe = load_recipe("cnn48", ("model.weights=default",), said.append)
    assert recipe.model.backbone == "mobilenetv2_100"
    assert said == [
        "The weights default bring their network: mobilenetv2_100 at 128 px replaces the recipe's "
        "'cnn48'"
    ]
    load_recipe("edge-fast", ("model.weights=default",), said.append)  # keeps its own
    assert len(said) == 1


@pytest.mark.parametrize(
    ("recipe", "chosen"),
    [
        ("finetune", "model.backbone=resnet18"),
        ("cnn48", "input.size_px=96"),
        ("cnn48", "input.mean=[0.4]"),
        ("cnn48", "model.neck=[linear 64]"),
        ("cnn48", "model.backbone=2020-01-01"),
        ("cnn48", "model.backbone_args.width=2"),
        ("cnn48", "model.backbone_args={width: 2}"),
        ("cnn48", "model={weights: default, backbone: cnn48}"),
        ("cnn48", "input={size_px: 96, colour: grey, mean: [0.5], std: [0.5]}"),
    ],
)
def test_a_network_chosen_for_this_run_is_not_replaced(recipe: str, chosen: str) -> None:
    key = chosen.partition("=")[0]
    with pytest.raises(RecipeError, match=f"expected {key}=.*Leave {key} out, or .*imagenet"):
        load_recipe(recipe, ("model.weights=default", chosen))


def test_a_choice_that_the_checkpoint_shares_or_that_is_no_network_is_kept() -> None:
    chosen = (
        "model.weights=default",
        "input.size_px=128",
        "model.dropout=0.4",
        "augment.crop_px=9",
    )
    recipe = load_recipe("cnn48", chosen)
    assert (recipe.input.size_px, recipe.model.dropout, recipe.augment.crop_px) == (128, 0.4, 9)
    assert load_recipe("finetune", ("input.size_px=112",)).input.size_px == 112


@pytest.mark.parametrize(
    "chosen",
    [
        "model.backbone_args={}",
        "model.backbone_args=null",
        "model={weights: default, backbone_args: {}}",
        "input={}",
    ],
)
def test_a_choice_that_leaves_the_network_open_is_no_other_one(chosen: str) -> None:
    recipe = load_recipe("cnn48", ("model.weights=default", chosen))
    assert recipe.model.backbone == "mobilenetv2_100"
    assert recipe.model.backbone_args is None
