"""The shipped model cards are the text that their evaluations give."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from fer_edge.bundle import open_bundle
from fer_edge.errors import CheckpointError, DataError
from fer_edge.shipped import DEFAULT_BUNDLE, MODELS, bundle_path, checkpoint_path
from fer_edge.training.checkpoint import load_checkpoint, save_checkpoint
from fer_edge.training.reports import group_card, model_card
from fer_edge.training.reports.group_section import groups_beside
from fer_edge.training.reports.model_card import card_text


def card_folder(name: str) -> Path:
    return DEFAULT_BUNDLE.parent / f"{name}-card"


def evaluation(name: str) -> dict[str, Any]:
    loaded = json.loads((card_folder(name) / "evaluation.json").read_text("utf-8"))
    assert isinstance(loaded, dict)
    return loaded


@pytest.mark.parametrize("name", MODELS)
def test_the_shipped_card_is_what_the_evaluation_gives(name: str) -> None:
    bundle, figures = open_bundle(bundle_path(name)), evaluation(name)
    text = card_text(
        load_checkpoint(name),
        bundle,
        figures["checkpoint"],
        figures["variants"],
        groups_beside(bundle, card_folder(name)),
    )
    assert text == (card_folder(name) / "MODEL_CARD.md").read_text("utf-8")


@pytest.mark.parametrize("name", MODELS)
def test_the_shipped_evaluation_is_of_the_shipped_model(name: str) -> None:
    figures, variants = evaluation(name), open_bundle(bundle_path(name)).variants
    assert figures["checkpoint"]["sha256"] == load_checkpoint(checkpoint_path(name)).sha256
    assert set(figures["variants"]) == {variant.name for variant in variants}


def _card(**facts: Any) -> str:
    checkpoint, figures = load_checkpoint("default"), evaluation("default")
    changed = replace(checkpoint, facts={**checkpoint.facts, **facts})
    bundle = open_bundle(DEFAULT_BUNDLE)
    return card_text(changed, bundle, figures["checkpoint"], figures["variants"])


@pytest.mark.parametrize(
    ("weights", "named"),
    [
        ("runs/first/best/model.safetensors", "the checkpoint `first`"),
        ("runs/first/best", "the checkpoint `first`"),
        ("averaged", "the checkpoint `averaged`"),
        ("default", "the checkpoint `default`"),
        ("somewhere/net.in1k.safetensors", "the weights `net.in1k.safetensors`"),
    ],
)
def test_the_card_names_the_start_without_guessing(weights: str, named: str) -> None:
    recipe = load_checkpoint("default").facts["recipe"]
    recipe = {**recipe, "model": {**recipe["model"], "weights": weights}}
    start = {"file": "model.safetensors", "sha256": "ab" * 32, "loaded": 312}
    text = _card(recipe=recipe, weights_from=start, teachers=[])
    assert f"The backbone started from {named} (SHA-256 `abababababababab…`, 312 tensors)" in text
    assert "ImageNet" not in text


def test_the_best_epoch_is_one_of_all_phases() -> None:
    recipe = load_checkpoint("default").facts["recipe"]
    then = [{"train": "full", "epochs": 4, "lr": 0.1}]
    fit = {**recipe["fit"], "epochs": 1, "then": then}
    assert "best epoch 2 of 5;" in _card(recipe={**recipe, "fit": fit}, epoch=2)
    del fit["then"]  # as in cards of older versions
    assert "best epoch 1 of 1;" in _card(recipe={**recipe, "fit": fit}, epoch=1)


def test_the_card_names_weights_from_the_hub() -> None:
    text = _card(weights_from={"hub": "timm/resnet18.a1_in1k", "tag": "a1_in1k"})
    assert "The backbone started from timm's weights `timm/resnet18.a1_in1k`." in text


def test_the_card_says_that_weights_are_an_average_and_who_taught() -> None:
    averaged = {"start": "12" * 32, "trained": "34" * 32, "share": 0.5}
    text = _card(averaged=averaged, opinions=[{"file": "other.parquet", "sha256": "56" * 32}])
    assert "50% of this run's best epoch (SHA-256 `3434343434343434…`)" in text
    assert "50% of the checkpoint `1212121212121212…`" in text
    assert "predictions in `other.parquet`, SHA-256 `5656565656565656…`" in text
    assert "an average" not in _card(averaged=None)


@pytest.mark.parametrize("command", [model_card.main, group_card.main])
def test_the_names_of_shipped_models_are_models(command: click.Command, tmp_path: Path) -> None:
    (tmp_path / "card").mkdir()
    shutil.copy(card_folder("fast") / "evaluation.json", tmp_path / "card")
    data = ["nowhere"] * (len(command.params) - 3)
    done = CliRunner().invoke(command, ["fast", "fast", *data, str(tmp_path / "card")])
    assert done.exit_code == DataError.exit_code
    assert "nowhere" in done.output


@pytest.mark.parametrize("command", [model_card.main, group_card.main])
def test_a_checkpoint_that_was_not_trained_here_is_refused_before_the_work(
    command: click.Command, tmp_path: Path
) -> None:
    imported = replace(load_checkpoint("fast"), facts={"imported": {}}, int8=None, familiarity=None)
    save_checkpoint(imported, tmp_path / "imported")
    data = ["nowhere"] * (len(command.params) - 3)
    done = CliRunner().invoke(command, [str(tmp_path / "imported"), "fast", *data, str(tmp_path)])
    assert done.exit_code == CheckpointError.exit_code
    assert "has no facts on data, recipe, epoch" in done.output


def test_groups_need_the_figures_of_the_card_first(tmp_path: Path) -> None:
    done = CliRunner().invoke(group_card.main, ["fast", "fast", "x", "y", str(tmp_path)])
    assert done.exit_code == DataError.exit_code
    assert "Run first: python -m fer_edge.training.reports.model_card" in done.output


@pytest.mark.parametrize(
    "text",
    [
        "[" * 200_000,
        '{"checkpoint": {}, "variants": {}}',
        '{"checkpoint": [], "variants": 7}',
        '{"checkpoint": {"parameters": "x"}, "variants": {}}',
    ],
)
def test_damaged_figures_are_refused_before_the_work(tmp_path: Path, text: str) -> None:
    (tmp_path / "evaluation.json").write_text(text, "utf-8")
    done = CliRunner().invoke(group_card.main, ["fast", "fast", "nowhere", "y", str(tmp_path)])
    assert done.exit_code == DataError.exit_code
    assert "Run first: python -m fer_edge.training.reports.model_card" in done.output


def test_a_model_that_answers_nothing_has_a_card() -> None:
    figures = evaluation("default")
    report = figures["checkpoint"]
    report["abstention"] |= {"coverage": 0.0, "accuracy": None}
    bundle = open_bundle(DEFAULT_BUNDLE)
    text = card_text(load_checkpoint("default"), bundle, report, figures["variants"])
    assert "0.0% of PublicTest is answered." in text
