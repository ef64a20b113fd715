"""The shipped model card is the text that its evaluation gives."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fer_edge.bundle import open_bundle
from fer_edge.shipped import DEFAULT_BUNDLE, DEFAULT_CHECKPOINT
from fer_edge.training.checkpoint import load_checkpoint
from fer_edge.training.reports.group_section import groups_beside
from fer_edge.training.reports.model_card import card_text

MODELS = DEFAULT_BUNDLE.parent


@pytest.fixture(scope="module")
def evaluation() -> dict[str, Any]:
    loaded = json.loads((MODELS / "evaluation.json").read_text("utf-8"))
    assert isinstance(loaded, dict)
    return loaded


def test_the_shipped_card_is_what_the_evaluation_gives(evaluation: dict[str, Any]) -> None:
    bundle = open_bundle(DEFAULT_BUNDLE)
    text = card_text(
        load_checkpoint(DEFAULT_CHECKPOINT),
        bundle,
        evaluation["checkpoint"],
        evaluation["variants"],
        groups_beside(bundle, MODELS),
    )
    assert text == (MODELS / "MODEL_CARD.md").read_text("utf-8")


def test_the_shipped_evaluation_is_of_the_shipped_model(evaluation: dict[str, Any]) -> None:
    variants = open_bundle(DEFAULT_BUNDLE).variants
    assert evaluation["checkpoint"]["sha256"] == load_checkpoint(DEFAULT_CHECKPOINT).sha256
    assert set(evaluation["variants"]) == {variant.name for variant in variants}
