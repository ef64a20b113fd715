"""Bundles exchanged under a running service: each answer is made with one bundle's rules."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from fer_edge import open_bundle
from fer_edge.backends.fake import FakeSession, write_fake_bundle
from fer_edge.bundle import write_bundle
from fer_edge.monitor import Face
from fer_edge.preprocess import CropRule, Image
from fer_edge.service.batcher import Batcher
from fer_edge.service.metrics import Metrics

Make = Callable[..., Path]


class Middle:
    """Detector that finds one face in the middle of 240x240 pixels."""

    def detect(self, image: Image) -> list[Face]:
        return [Face((90, 90, 60, 60), 1.0)]


def bright_face(seed: int) -> bytes:
    """A PNG: bright noise inside the box of ``Middle``, dark noise around it."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 60, (240, 240, 3), np.uint8)
    pixels[90:150, 90:150] = rng.integers(150, 250, (60, 60, 3), np.uint8)
    return cv2.imencode(".png", pixels)[1].tobytes()


@pytest.fixture
def other(tmp_path: Path) -> Make:
    """Writes a fake bundle with another crop rule or threshold."""

    def make(name: str = "other.fer", **changes: Any) -> Path:
        opened = open_bundle(write_fake_bundle(tmp_path / f"plain-{name}", {"neutral": 0.7}))
        changed = replace(opened, path=tmp_path / name, **changes)
        write_bundle(changed, opened.read(opened.variants[0]))
        return changed.path

    return make


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, float]]:
    """Side and mean brightness of each batch that reaches the engine."""
    batches: list[tuple[int, float]] = []
    run = FakeSession.run

    def watched(self: FakeSession, batch: Any) -> Any:
        batches.append((batch.shape[1], float(batch.mean())))
        return run(self, batch)

    monkeypatch.setattr(FakeSession, "run", watched)
    return batches


def test_a_live_connection_takes_the_new_crop_rule(make: Any, other: Make, seen: Any) -> None:
    client = make(detector=Middle())
    new = other(crop=CropRule(64, margin=1.0))
    with client.live() as socket:
        for number in range(3):
            socket.send_bytes(bright_face(number))
            before = socket.receive_json()
        assert seen[-1] == (48, pytest.approx(200, abs=15))
        client.app.state.recogniser._predictor.swap(new)
        seen.clear()
        socket.send_bytes(bright_face(9))
        after = socket.receive_json()
    assert seen == [(64, pytest.approx(49, abs=15))]  # three quarters and more are dark
    assert before["faces"][0]["person"] == after["faces"][0]["person"]
    assert after["bundle"] == "other.fer"
    assert after["bundle_sha256"] == open_bundle(new).sha256 != before["bundle_sha256"]


def test_a_live_connection_takes_the_new_threshold(make: Any, other: Make) -> None:
    """Also for a person that is followed already."""
    client = make(detector=Middle())
    with client.live() as socket:
        answers = []
        for number in range(400):
            socket.send_bytes(bright_face(number))
            answers.append(socket.receive_json())
            if answers[-1]["faces"] and not answers[-1]["faces"][0]["uncertain"]:
                break
            time.sleep(0.02)
        assert answers[-1]["faces"][0]["label"] == "neutral"
        client.app.state.recogniser._predictor.swap(other(abstain_below=0.95))
        for number in range(400):
            socket.send_bytes(bright_face(number))
            answers.append(socket.receive_json())
            if answers[-1]["faces"][0]["uncertain"]:
                break
            time.sleep(0.02)
    assert answers[-1]["faces"][0]["cause"] == "unsure"
    assert "below 0.95" in answers[-1]["faces"][0]["reason"]


@pytest.mark.parametrize("live", [False, True])
def test_a_swap_during_a_request_does_not_mix_two_bundles(
    make: Any, other: Make, seen: Any, monkeypatch: pytest.MonkeyPatch, *, live: bool
) -> None:
    """The faces were cut by the old rule; the new bundle gets them by its own."""
    client = make(detector=Middle())
    recogniser = client.app.state.recogniser
    new = other(crop=CropRule(64, margin=1.0))
    timed = Batcher._timed
    swapped: list[bool] = []

    def swap_first(self: Batcher, batch: Any) -> Any:
        if not swapped:
            swapped.append(True)
            recogniser._predictor.swap(new)
            seen.clear()
        return timed(self, batch)

    monkeypatch.setattr(Batcher, "_timed", swap_first)
    if live:
        with client.live() as socket:
            while not swapped:
                socket.send_bytes(bright_face(1))
                answer = socket.receive_json()
    else:
        answer = client.predict(bright_face(1)).json()
    assert seen[-1] == (64, pytest.approx(49, abs=15))
    assert answer["bundle_sha256"] == open_bundle(new).sha256


def test_faces_of_two_sizes_are_never_in_one_run() -> None:
    """They come from requests before and after a swap."""
    runs: list[tuple[int, ...]] = []

    def predict(batch: Any) -> Any:
        runs.append(batch.shape)
        return [batch.shape[1]] * len(batch)

    async def both() -> Any:
        batcher = Batcher(predict, 8, Metrics())
        try:
            sizes = (48, 64, 64, 48)
            faces = [np.zeros((1, side, side, 3), np.uint8) for side in sizes]
            return await asyncio.wait_for(asyncio.gather(*map(batcher, faces)), 20)
        finally:
            batcher.close()

    assert asyncio.run(both()) == [[48], [64], [64], [48]]
    assert [shape[:2] for shape in runs] == [(1, 48), (2, 64), (1, 48)]
