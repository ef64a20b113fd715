"""A closed Predictor, and engines that are closed under running calls."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from predictor_inputs import CALLS, TINTED, bundle_of

from fer_edge.backends.base import Options, backend
from fer_edge.bundle import open_bundle
from fer_edge.errors import EngineError
from fer_edge.predictor import Predictor
from fer_edge.preprocess import Image


def test_a_closed_predictor_refuses_an_empty_batch_too(fake_bundle: Path, face: Image) -> None:
    predictor = Predictor(fake_bundle)
    predictor.close()
    for call in (lambda: predictor.predict_batch([]), lambda: predictor.predict_faces(face, [])):
        with pytest.raises(EngineError, match="closed"):
            call()


def test_a_closed_predictor_answers_with_an_engine_error(fake_bundle: Path, face: Image) -> None:
    predictor = Predictor(fake_bundle)
    predictor.warm_up((1, 4))
    predictor.close()
    predictor.close()
    for call in CALLS.values():
        with pytest.raises(EngineError, match="closed"):
            call(predictor, face)
    with pytest.raises(EngineError, match="closed"):
        predictor.warm_up()
    assert predictor.explain()[0].taken


def test_leaving_the_with_block_closes_it_also_after_an_error(
    fake_bundle: Path, face: Image
) -> None:
    with Predictor(fake_bundle) as predictor:
        assert predictor(face).label == "neutral"
    with pytest.raises(EngineError, match="closed"):
        predictor(face)
    with suppress(KeyError), Predictor(fake_bundle) as predictor:
        raise KeyError
    with pytest.raises(EngineError, match="closed"):
        predictor(face)


def test_closing_under_running_calls_ends_them_with_an_engine_error_at_worst(
    seeing: Predictor,
) -> None:
    under_way = threading.Barrier(3)

    def until_closed() -> None:
        seeing(TINTED[0])
        under_way.wait()
        while True:
            assert seeing(TINTED[0]).label == "fear"

    with ThreadPoolExecutor(2) as pool:
        runs = [pool.submit(until_closed) for _ in range(2)]
        under_way.wait()
        seeing.close()
        for run in runs:
            assert isinstance(run.exception(), EngineError)


@pytest.mark.parametrize("target", ["onnxruntime", "openvino"])
def test_a_closed_engine_that_is_run_gives_an_engine_error(
    tmp_path: Path, colour_network: bytes, target: str
) -> None:
    """Another thread can close the engine before this thread runs it."""
    pytest.importorskip(target)
    bundle = open_bundle(bundle_of(tmp_path / "a.fer", {f"{target}/fp32": colour_network}))
    (variant,) = bundle.variants
    session = backend(target).load(variant, bundle.read(variant), Options())
    session.close()
    with pytest.raises(EngineError):
        session.run(np.zeros((1, 48, 48, 3), np.uint8))
