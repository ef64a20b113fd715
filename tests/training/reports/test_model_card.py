"""The shipped model cards are the text that their evaluations give."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fer_edge.bundle import open_bundle
from fer_edge.shipped import DEFAULT_BUNDLE, MODELS, bundle_path, checkpoint_path
from fer_edge.training.checkpoint import load_checkpoint
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
