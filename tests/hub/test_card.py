"""Model cards are written of any bundle and checkpoint that is accepted."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from fer_edge.bundle import MANIFEST, open_bundle
from fer_edge.hub.card import hub_card
from fer_edge.manifest import sealed
from fer_edge.shipped import DEFAULT_BUNDLE, DEFAULT_CHECKPOINT
from fer_edge.training.checkpoint import load_checkpoint

ODD: list[dict[str, Any]] = [
    *({"data": value} for value in (5, None, [], {"sources": 5}, {"sources": None})),
    {"data": {"sources": [5, None, "fer2013"]}},
    *({"held_out": value} for value in (5, {"accuracy": 10**400}, {"accuracy": True})),
    *({"held_out": {"accuracy": value}} for value in ("1", None, [], -1, 7)),
    *({"licences": value} for value in (5, {"data": 5})),
    {"backbone": ["a"]},
    {},
]


@pytest.mark.parametrize("provenance", ODD, ids=lambda value: repr(value)[:40])
def test_an_odd_provenance_gives_a_card(fake_bundle: Path, provenance: Any) -> None:
    manifest = fake_bundle / MANIFEST
    content = json.loads(manifest.read_text("utf-8")) | {"provenance": provenance}
    manifest.write_text(json.dumps(sealed(content)), "utf-8")
    open_bundle(fake_bundle)
    card = hub_card("me/model", "bundle", fake_bundle)
    assert "- held-out" not in card


@pytest.mark.parametrize(
    "facts",
    [*ODD, {"crop": 5}, {"labels": 5}, {"variants": [5]}, {"held_out": {"ece": float("nan")}}],
    ids=lambda value: repr(value)[:40],
)
def test_a_checkpoint_with_odd_facts_gives_a_card(facts: dict[str, Any], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(DEFAULT_CHECKPOINT, tmp_path / "checkpoint"))
    card = json.loads((folder / "card.json").read_text("utf-8"))
    card.pop("held_out")
    (folder / "card.json").write_text(json.dumps(card | facts), "utf-8")
    load_checkpoint(folder)
    text = hub_card("me/model", "checkpoint", folder)
    assert "- held-out" not in text
    assert "happiness" in text


def test_the_card_of_a_shipped_model_has_its_figures() -> None:
    card = json.loads((DEFAULT_CHECKPOINT / "card.json").read_text("utf-8"))
    text = hub_card("me/model", "checkpoint", DEFAULT_CHECKPOINT)
    assert f"held-out accuracy: {card['held_out']['accuracy']:.4f}" in text
    assert f"- network: {card['model']['backbone']}" in text
    manifest = json.loads((DEFAULT_BUNDLE / MANIFEST).read_text("utf-8"))
    text = hub_card("me/model", "bundle", DEFAULT_BUNDLE)
    assert f"- input: {manifest['crop']['size_px']} px crops" in text
    assert f"{manifest['variants'][0]['target']}/" in text
