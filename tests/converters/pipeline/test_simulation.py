"""Sessions in several processes: the engine's own answers, and an error when a process ends."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

from fer_edge.backends.base import Options, Outputs, Session, backend
from fer_edge.bundle import Bundle, open_bundle
from fer_edge.converters.pipeline.parity import run_all
from fer_edge.converters.pipeline.simulation import Simulation
from fer_edge.errors import EngineError
from fer_edge.shipped import bundle_path


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    """An engine that runs everywhere takes the simulator's place."""
    bundle = open_bundle(bundle_path("fast"))
    assert [variant.name for variant in bundle.variants] == ["onnxruntime/int8"]
    return bundle


@pytest.fixture(scope="module")
def session(bundle: Bundle) -> Iterator[Simulation]:
    with contextlib.closing(Simulation(bundle.path, 3)) as session:
        yield session


@pytest.fixture(scope="module")
def faces(bundle: Bundle) -> np.ndarray:
    side = bundle.crop.size_px
    return np.random.default_rng(1).integers(0, 256, (40, side, side, 3), np.uint8)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 40])
def test_each_face_has_the_engines_own_answer(
    bundle: Bundle, session: Simulation, faces: np.ndarray, count: int
) -> None:
    variant = bundle.variants[0]
    own: Session = backend(variant.target).load(variant, bundle.read(variant), Options())
    for found, expected in zip(session.run(faces[:count]), own.run(faces[:count]), strict=True):
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected, atol=1e-6)


def test_a_face_for_each_process_runs_at_once(session: Simulation, faces: np.ndarray) -> None:
    calls: list[int] = []

    class Counting:
        def run(self, batch: np.ndarray) -> Outputs:
            calls.append(len(batch))
            return session.run(batch)

        def close(self) -> None:
            pass

    answers = run_all(Counting(), faces[:8], at_once=session.at_once)
    assert calls == [3, 3, 2]
    np.testing.assert_array_equal(answers[0], session.run(faces[:8])[0])


def test_the_engines_error_arrives(bundle: Bundle, faces: np.ndarray) -> None:
    with contextlib.closing(Simulation(bundle.path, 2)) as session:
        with pytest.raises(EngineError, match="onnxruntime failed"):
            session.run(faces[:, :48, :48].copy())
        with pytest.raises(EngineError, match=r"ended with exit code.*Convert again"):
            session.run(faces)


def test_what_cannot_be_loaded_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="expected a bundle folder"):
        Simulation(tmp_path / "missing.fer", 2)


def test_a_process_that_dies_is_an_error(bundle: Bundle, faces: np.ndarray) -> None:
    before = {child.pid for child in psutil.Process().children()}
    with contextlib.closing(Simulation(bundle.path, 2)) as session:
        own = [child for child in psutil.Process().children() if child.pid not in before]
        assert len(own) == 2
        own[0].kill()
        with pytest.raises(EngineError, match="ended with exit code -9"):
            session.run(faces)
    assert not any(child.is_running() for child in own)
