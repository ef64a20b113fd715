"""``familiarize`` fits a checkpoint's familiarity to the faces that trained it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from fer_edge.errors import DataError
from fer_edge.shipped import FACES, checkpoint_path
from fer_edge.training.checkpoint import load_checkpoint, save_checkpoint
from fer_edge.training.data.faces import load_faces
from fer_edge.training.evaluation import familiarity as module
from fer_edge.training.evaluation.runner import open_model
from fer_edge.training.familiarize import familiarize


def test_a_checkpoint_learns_the_faces_that_training_used(
    finished: Any, few_faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DataError, match=r"at least 500 training faces and 200 held-out"):
        familiarize(finished.best, few_faces, tmp_path / "out")
    monkeypatch.setattr(module, "FEWEST_TRAINING_FACES", 20)
    monkeypatch.setattr(module, "FEWEST_HELD_OUT_FACES", 5)
    notes: list[str] = []
    report = familiarize(finished.best, few_faces, tmp_path / "out", say=notes.append)
    before, after = load_checkpoint(finished.best), load_checkpoint(tmp_path / "out")
    assert after.sha256 == before.sha256
    assert after.facts == before.facts
    assert after.familiarity is not None
    assert after.familiarity.record.faces == report["held_out_faces"] >= 5
    assert not any("not the faces" in note for note in notes)
    familiarize(finished.best, FACES, tmp_path / "other", say=notes.append)
    assert any("These are not the faces that the checkpoint was trained on" in n for n in notes)


def test_faces_under_the_effects_of_training_are_familiar(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A network that was trained for little light knows dark faces, and no noise."""
    monkeypatch.setattr(module, "FEWEST_TRAINING_FACES", 100)
    monkeypatch.setattr(module, "FEWEST_HELD_OUT_FACES", 50)
    source = load_checkpoint(checkpoint_path("fast"))
    faces = [face.read() for face in load_faces(FACES, "val")][::4]
    dark = [cv2.convertScaleAbs(face, alpha=0.15) for face in faces]
    noise = list(np.random.default_rng(0).integers(0, 256, (8, 64, 64, 3), np.uint8))
    refused = {}
    for name, effects in (("plain", {}), ("car", {"low_light": 0.5})):
        recipe: dict[str, Any] = {
            **source.facts["recipe"],
            "data": {"holdout": 0.3},
            "augment": {"incar": effects},
        }
        path = tmp_path / name
        save_checkpoint(replace(source, facts=source.facts | {"recipe": recipe}), path)
        report = familiarize(path, FACES, path)
        with open_model(path) as runner:
            judged = runner.judge(dark + noise, "", lambda *_: None)
        unsure = judged[0].max(1) < source.abstain_below
        refused[name] = float((judged[2] & ~unsure)[: len(dark)].mean())
        assert judged[2][len(dark) :].all()
        assert report["held_out_faces"] > 50 * (1 + bool(effects))
    assert refused["car"] < 0.1 < refused["plain"]
