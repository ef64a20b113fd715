"""Statistics of training faces, fitted, stored in the checkpoint and moved to a camera."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fer_edge.bundle import open_bundle, write_bundle
from fer_edge.converters.pipeline.assemble_bundle import assemble
from fer_edge.errors import CheckpointError, DataError
from fer_edge.familiarity import PATH, Statistics
from fer_edge.preprocess import CropRule
from fer_edge.shipped import DEFAULT_BUNDLE, DEFAULT_CHECKPOINT
from fer_edge.training.checkpoint import FAMILIARITY, load_checkpoint, save_checkpoint
from fer_edge.training.evaluation.familiarity import fit_familiarity, moved, with_limits
from fer_edge.training.evaluation.runner import open_model

DIM = 96
"""Length of the embeddings; that of the shipped network is 1280."""


def faces(count: int, seed: int, shift: float = 0.0) -> tuple[Any, Any]:
    """Return embeddings in 40 directions with little noise, and seven numbers."""
    rng = np.random.default_rng(seed)
    directions = np.random.default_rng(99).normal(size=(40, DIM))
    embeddings = 3 + rng.normal(size=(count, 40)) @ directions / 20
    embeddings += rng.normal(0, 0.1, (count, DIM)) + shift
    return embeddings.astype(np.float32), rng.normal(size=(count, 7)) + shift


@pytest.fixture(scope="module")
def familiarity() -> Any:
    return fit_familiarity(*faces(800, 0), faces(1000, 1))


@pytest.fixture(scope="module")
def of_shipped() -> Any:
    """Statistics for embeddings of the shipped network's length."""
    rng = np.random.default_rng(4)
    directions = rng.normal(size=(3, 1280)) / 40
    statistics = Statistics(2.0, rng.normal(size=1280), directions, np.zeros(7), np.eye(7))
    statistics = Statistics.read(statistics.data(), 3, 1280)
    return with_limits(statistics, rng.normal(size=(60, 1280)), rng.normal(size=(60, 7)))


def test_the_stated_share_of_faces_is_refused(familiarity: Any) -> None:
    assert familiarity.record.false_refusals <= 0.01
    assert familiarity.record.faces == 1000
    assert familiarity.refuses(*faces(4000, 2)).mean() == pytest.approx(0.01, abs=0.01)


def test_what_lies_elsewhere_is_refused(familiarity: Any) -> None:
    rng = np.random.default_rng(5)
    others = rng.normal(3, 1.5, (200, DIM)).astype(np.float32)
    assert familiarity.refuses(others, np.zeros((200, 7))).all()
    usual = faces(200, 6)[0]
    assert familiarity.refuses(usual, np.full((200, 7), 9.0)).all()


def test_a_camera_moves_means_and_limits_and_keeps_directions(familiarity: Any) -> None:
    camera = faces(300, 7, shift=2.5)
    assert familiarity.refuses(*camera).mean() > 0.3
    adapted = moved(familiarity, *camera)
    assert adapted.record.false_refusals <= 0.01
    assert adapted.refuses(*faces(2000, 8, shift=2.5)).mean() < 0.05
    assert (adapted.statistics.components == familiarity.statistics.components).all()
    noise = np.random.default_rng(5).normal(3, 1.5, (50, DIM)).astype(np.float32)
    assert adapted.refuses(noise, camera[1][:50]).all()


def test_few_faces_are_refused() -> None:
    with pytest.raises(DataError, match=r"at least 500 training faces and 200 held-out"):
        fit_familiarity(*faces(100, 0), faces(300, 1))


def test_no_limit_refuses_more_than_asked(familiarity: Any) -> None:
    few = faces(60, 3)
    assert with_limits(familiarity.statistics, *few).record.false_refusals <= 0.01


@pytest.fixture
def checkpoint(of_shipped: Any, tmp_path: Path) -> Path:
    save_checkpoint(
        replace(load_checkpoint(DEFAULT_CHECKPOINT), familiarity=of_shipped), tmp_path / "best"
    )
    return tmp_path / "best"


def test_a_checkpoint_keeps_it(checkpoint: Path, of_shipped: Any) -> None:
    loaded = load_checkpoint(checkpoint)
    assert loaded.familiarity is not None
    assert loaded.familiarity.record == of_shipped.record
    assert loaded.familiarity.statistics.data() == of_shipped.statistics.data()
    assert loaded.sha256 == load_checkpoint(DEFAULT_CHECKPOINT).sha256
    assert "familiarity" not in loaded.facts
    with open_model(checkpoint) as runner:
        noise = np.random.default_rng(0).integers(0, 256, (2, 128, 128, 3), np.uint8)
        assert runner.judge(list(noise), "", lambda *_: None)[2].all()


@pytest.mark.parametrize("damage", ["bytes", "missing", "card"])
def test_a_damaged_one_is_refused(checkpoint: Path, damage: str) -> None:
    file = checkpoint / FAMILIARITY
    if damage == "bytes":
        file.write_bytes(file.read_bytes()[::-1])
    elif damage == "missing":
        file.unlink()
    else:
        card = json.loads((checkpoint / "card.json").read_text("utf-8"))
        card["familiarity"]["components"] = "many"
        (checkpoint / "card.json").write_text(json.dumps(card), "utf-8")
    with pytest.raises(CheckpointError, match="cannot read the familiarity"):
        load_checkpoint(checkpoint)


def test_a_conversion_carries_it_into_the_bundle(
    checkpoint: Path, of_shipped: Any, tmp_path: Path
) -> None:
    source = load_checkpoint(checkpoint)
    bundle, files = assemble(tmp_path / "a.fer", source, CropRule(128), variants=[], files={})
    assert bundle.familiarity == of_shipped.record
    assert files == {PATH: of_shipped.statistics.data()}
    assert {file.path for file in bundle.files} == {PATH}


def test_a_bundle_keeps_it_when_a_plain_checkpoint_adds_a_variant(
    of_shipped: Any, tmp_path: Path
) -> None:
    original, path = open_bundle(DEFAULT_BUNDLE), tmp_path / "a.fer"
    files = {PATH: of_shipped.statistics.data()}
    for variant in original.variants:
        files |= original.read(variant)
    write_bundle(replace(original, path=path, familiarity=of_shipped.record), files)
    plain = replace(load_checkpoint(DEFAULT_CHECKPOINT), familiarity=None)
    bundle, kept = assemble(
        path, plain, original.crop, variants=[], files={}, existing=open_bundle(path)
    )
    assert bundle.familiarity == of_shipped.record
    assert kept[PATH] == files[PATH]
