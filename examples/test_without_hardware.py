"""Test an application without a model and without a chip.

    pytest examples/test_without_hardware.py

``write_fake_bundle`` writes a real bundle, checked and hashed, whose engine answers, waits and
fails as the test demands.
"""

from pathlib import Path

import numpy as np
import pytest

from fer_edge import EngineError, Predictor
from fer_edge.backends.fake import write_fake_bundle

FACE = np.random.default_rng(0).integers(0, 256, (100, 100, 3), dtype=np.uint8)


def greeting(predictor: Predictor, face: np.ndarray) -> str:
    """Stand for the application under test."""
    try:
        prediction = predictor(face)
    except EngineError:
        return "camera assistant is off"
    return "hello" if prediction.uncertain else f"you look {prediction.label}"


def test_a_sure_answer_is_used(tmp_path: Path) -> None:
    bundle = write_fake_bundle(tmp_path / "happy.fer", {"happiness": 0.9})
    with Predictor(bundle) as predictor:
        assert greeting(predictor, FACE) == "you look happiness"


def test_an_unsure_answer_is_not_used(tmp_path: Path) -> None:
    bundle = write_fake_bundle(tmp_path / "unsure.fer", {"anger": 0.4}, abstain_below=0.5)
    with Predictor(bundle) as predictor:
        assert greeting(predictor, FACE) == "hello"


@pytest.mark.parametrize("calls", [0, 1])
def test_a_broken_engine_does_not_stop_the_application(tmp_path: Path, calls: int) -> None:
    bundle = write_fake_bundle(tmp_path / "broken.fer", {"fear": 0.9}, fail_after=calls)
    with Predictor(bundle) as predictor:
        for _ in range(calls):
            assert greeting(predictor, FACE) == "you look fear"
        assert greeting(predictor, FACE) == "camera assistant is off"
