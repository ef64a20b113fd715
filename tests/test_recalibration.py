"""A temperature after the softmax: exact, stable and the same for every engine."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fer_edge import Predictor
from fer_edge.backends.fake import write_fake_bundle
from fer_edge.bundle import MANIFEST, open_bundle, write_bundle
from fer_edge.errors import BundleError
from fer_edge.manifest import sealed
from fer_edge.preprocess import Image
from fer_edge.recalibration import Recalibration


def softmax(logits: Any) -> Any:
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


@pytest.mark.parametrize("temperature", [0.05, 0.7, 1.0, 1.3, 20.0])
def test_it_is_the_softmax_at_another_temperature(temperature: float) -> None:
    logits = np.random.default_rng(0).normal(0, 2, (200, 7))
    ours = Recalibration(temperature).apply(softmax(logits).astype(np.float32))
    assert ours.dtype == np.float32
    assert ours == pytest.approx(softmax(logits / temperature), abs=2e-5)


def test_the_most_probable_class_stays() -> None:
    shares = np.random.default_rng(1).dirichlet(np.full(7, 0.3), 1000).astype(np.float32)
    for temperature in (0.05, 0.5, 3.0, 20.0):
        ours = Recalibration(temperature).apply(shares)
        assert (ours.argmax(1) == shares.argmax(1)).all()
        assert ours.sum(1) == pytest.approx(np.ones(1000), abs=1e-6)


def test_certain_and_rounded_answers_stay_finite() -> None:
    shares = np.array([[1, 0, 0], [1.0000001, -1e-7, 0], [1e-20, 1, 1e-30]], np.float32)
    for temperature in (0.05, 20.0):
        ours = Recalibration(temperature).apply(shares)
        assert np.isfinite(ours).all()
        assert ours.min() >= 0


@pytest.fixture
def softer(tmp_path: Path) -> Path:
    """A bundle that answers neutral with 0.9, recalibrated by 2."""
    original = open_bundle(write_fake_bundle(tmp_path / "fake.fer", abstain_below=0.8))
    contents = original.read(original.variants[0])
    path = tmp_path / "softer.fer"
    write_bundle(replace(original, path=path, recalibration=Recalibration(2.0)), contents)
    return path


def test_the_predictor_applies_it_before_the_threshold(softer: Path, face: Image) -> None:
    assert open_bundle(softer).recalibration == Recalibration(2.0)
    with Predictor(softer) as predictor:
        answer = predictor(face)
    expected = 0.9**0.5 / (0.9**0.5 + 6 * (0.1 / 6) ** 0.5)
    assert answer.confidence == pytest.approx(expected)
    assert answer.label == "neutral"
    assert answer.uncertain
    assert answer.reason == f"the model is unsure: confidence {expected:.2f} is below 0.80"


def test_a_bundle_without_one_answers_as_before(fake_bundle: Path, face: Image) -> None:
    assert "recalibration" not in json.loads((fake_bundle / MANIFEST).read_text("utf-8"))
    with Predictor(fake_bundle) as predictor:
        assert predictor(face).confidence == pytest.approx(0.9)


HOSTILE: dict[str, Callable[[Any], object]] = {
    "no object": lambda c: c.update(recalibration=2.0),
    "no temperature": lambda c: c.update(recalibration={}),
    "a text": lambda c: c.update(recalibration={"temperature": "2"}),
    "a truth": lambda c: c.update(recalibration={"temperature": True}),
    "zero": lambda c: c.update(recalibration={"temperature": 0}),
    "huge": lambda c: c.update(recalibration={"temperature": 1e9}),
    "an unknown key": lambda c: c.update(recalibration={"temperature": 2, "bias": 1}),
    "a list": lambda c: c.update(recalibration=[2]),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_value_is_refused_and_named(softer: Path, name: str) -> None:
    content = json.loads((softer / MANIFEST).read_text("utf-8"))
    HOSTILE[name](content)
    (softer / MANIFEST).write_text(json.dumps(sealed(content)), "utf-8")
    with pytest.raises(BundleError, match="recalibration"):
        open_bundle(softer)
