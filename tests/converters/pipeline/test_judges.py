"""Judges: what runs beside the next build, and what ends with the conversion."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace

import numpy as np
import psutil
import pytest
import torch

from fer_edge.backends.base import Batch, Outputs, Session
from fer_edge.bundle import Variant, listed, open_bundle
from fer_edge.converters.base import Artifact
from fer_edge.converters.pipeline import verify_variant
from fer_edge.converters.pipeline.build_variant import BuiltVariant
from fer_edge.converters.pipeline.face_samples import FaceSamples
from fer_edge.converters.pipeline.judges import Judges
from fer_edge.converters.pipeline.simulation import Simulation
from fer_edge.converters.pipeline.verify_variant import ParityCheck
from fer_edge.errors import ConversionError, EngineError
from fer_edge.labels import EMOTIONS
from fer_edge.shipped import bundle_path

IMAGES = np.random.default_rng(0).integers(0, 256, (64, 8, 8, 3), np.uint8)


class Pixels:
    """Session that answers from a face's first pixels, after it called ``before``."""

    def __init__(self, before: Callable[[], object] = lambda: None) -> None:
        self.before = before
        self.runs = 0

    def run(self, batch: Batch) -> Outputs:
        self.before()
        self.runs += 1
        pixels = batch.reshape(len(batch), -1)[:, :7].astype(np.float32) + 1
        return pixels / pixels.sum(1, keepdims=True), pixels[:, :4].copy()

    def close(self) -> None:
        pass


def built(session: Session, unable: str | None) -> BuiltVariant:
    variant = Variant("onnxruntime", "fp32", "a", (listed("a", b""),))
    return BuiltVariant(variant, Artifact("a", {"a": b""}, {}), session, unable)


@pytest.fixture
def check(monkeypatch: pytest.MonkeyPatch) -> ParityCheck:
    # The stand-in's file is not a graph that an engine could say something about.
    monkeypatch.setattr(verify_variant, "_execution", lambda *_: None)
    truth = [EMOTIONS[i % 7] for i in range(64)]
    faces = FaceSamples(IMAGES, truth, "noise", "a" * 64, ("b",) * 64)
    return ParityCheck(Pixels().run(IMAGES), faces, faces, EMOTIONS)


def test_a_stand_in_runs_beside_what_follows_and_an_engine_on_its_chip_does_not(
    check: ParityCheck,
) -> None:
    go_on = threading.Event()
    said: list[str] = []
    with closing(Judges(said.append)) as judges:
        beside = judges.verify(built(Pixels(go_on.wait), "not here"), check)
        at_once = judges.verify(built(Pixels(), None), check)
        assert at_once.done()
        assert not beside.done()
        assert len(said) == 1
        go_on.set()
        for verdict in (at_once, beside):
            assert verdict.result().parity is not None
        assert len(said) == 1  # only in the caller's thread
        judges.say_finished()
    assert len(said) == 2


def test_leaving_ends_what_still_runs(check: ParityCheck) -> None:
    slow = Pixels(lambda: time.sleep(0.02))
    with closing(Judges(lambda text: None)) as judges:
        beside = judges.verify(built(slow, "not here"), check)
    assert slow.runs < 10
    with pytest.raises((ConversionError, CancelledError)):
        beside.result(timeout=0)


def test_errors_of_an_engine_come_at_once_and_those_of_a_stand_in_with_its_result(
    check: ParityCheck,
) -> None:
    def fails() -> None:
        raise EngineError("the engine died")

    with closing(Judges(lambda text: None)) as judges:
        beside = judges.verify(built(Pixels(fails), "not here"), check)
        with pytest.raises(EngineError):
            judges.verify(built(Pixels(fails), None), check)
        with pytest.raises(EngineError):
            beside.result()


@pytest.mark.parametrize("fails", [False, True])
def test_a_simulators_processes_end_with_its_verdict(check: ParityCheck, fails: bool) -> None:
    """An engine that runs everywhere takes the simulator's place; its crops have another size."""
    bundle = open_bundle(bundle_path("fast"))
    before = set(psutil.Process().children())
    session = Simulation(bundle.path, 2)
    own = set(psutil.Process().children()) - before
    if not fails:
        side = bundle.crop.size_px
        images = np.random.default_rng(0).integers(0, 256, (64, side, side, 3), np.uint8)
        faces = replace(check.gate, images=images)
        check = replace(check, gate=faces, calibration=faces, reference=session.run(images))
    with closing(Judges(lambda text: None)) as judges:
        error = judges.verify(built(session, "not here"), check).exception()
        assert isinstance(error, EngineError) if fails else error is None
        assert len(own) == 2
        assert not any(child.is_running() for child in own)
    session.close()  # as the conversion does at its end


def test_judges_use_one_thread_of_torch_and_give_the_others_back(check: ParityCheck) -> None:
    seen: set[int] = set()
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    try:
        with closing(Judges(lambda text: None)) as judges:
            session = Pixels(lambda: seen.add(torch.get_num_threads()))
            judges.verify(built(session, "not here"), check).result()
            assert torch.get_num_threads() == 4
        assert torch.get_num_threads() == 4
        with ThreadPoolExecutor(1) as later:
            assert later.submit(torch.get_num_threads).result() == 4
    finally:
        torch.set_num_threads(before)
    assert seen == {1}
