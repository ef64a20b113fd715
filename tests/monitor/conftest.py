"""A clock that is turned by hand, frames, bundles of fake variants, and a whole pipeline."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fer_edge.bundle import Bundle, Variant, listed, write_bundle
from fer_edge.labels import EMOTIONS
from fer_edge.monitor.capture import CapturedFrame
from fer_edge.monitor.detector import Detector, WholeFrame
from fer_edge.monitor.failover import FailoverPredictor
from fer_edge.monitor.health import HealthMonitor
from fer_edge.monitor.pipeline import Pipeline
from fer_edge.monitor.settings import Settings
from fer_edge.monitor.state import MonitorState
from fer_edge.predictor import Predictor
from fer_edge.preprocess import CropRule, Image


class Clock:
    """Seconds that pass only when they are told to."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s

    def pass_(self, seconds: float) -> None:
        self.now_s += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


def _picture(seed: int, size: tuple[int, int] = (64, 64)) -> Image:
    width, height = size
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


@pytest.fixture(scope="session")
def picture() -> Callable[..., Image]:
    """Makes sharp noise from a seed and a ``(width, height)``; WholeFrame calls it a face."""
    return _picture


@pytest.fixture
def yunet_file(shared: Path) -> Path:
    return shared / "data/detectors/face_detection_yunet_2023mar.onnx"


@pytest.fixture
def fake_variants(tmp_path: Path) -> Callable[..., Path]:
    """Makes a bundle whose fake variants, named by precision, answer "neutral" or as told."""
    return lambda **variants: _fake_variants(tmp_path / "variants.fer", variants)


def _fake_variants(path: Path, variants: Mapping[str, Mapping[str, Any]]) -> Path:
    contents, listing = {}, []
    for precision, plan in variants.items():
        row = [0.9 if name == "neutral" else 0.1 / 6 for name in EMOTIONS]
        data = json.dumps({"row": row, "latency_ms": 0, "fail_after": None, **plan}).encode()
        file = listed(f"fake-{precision}/answers.json", data)
        contents[file.path] = data
        listing.append(Variant("fake", precision, file.path, (file,)))
    bundle = Bundle(path, EMOTIONS, CropRule(48), 1.0, 0.5, 4, {}, tuple(listing))
    write_bundle(bundle, contents)
    return path


class Rig:
    """A Pipeline with a clock, fed by hand."""

    def __init__(
        self, bundle: Path, clock: Clock, detector: Detector, settings: Settings, *, live: bool
    ) -> None:
        self.clock = clock
        self.health = HealthMonitor()
        self.inference = FailoverPredictor(
            lambda exclude: Predictor(bundle, exclude=exclude),
            self.health,
            clock,
            settings.watchdog_s,
        )
        assert self.inference.predictor is not None
        self.pipeline = Pipeline(
            self.inference.predictor.bundle,
            detector,
            self.inference,
            settings,
            self.health,
            clock,
            live=live,
        )
        self.count = 0

    def show(self, image: object, *, after_s: float = 1 / 30, **how: Any) -> MonitorState:
        """The state after one more frame."""
        self.clock.pass_(after_s)
        arrival = CapturedFrame(image, self.count, self.clock(), None, how.get("reopened", False))
        self.count += 1
        return self.pipeline.process(arrival)

    def play(self, seconds: float, hz: float = 30.0, **how: Any) -> list[MonitorState]:
        """Different noise for so long."""
        return [
            self.show(_picture(self.count), after_s=1 / hz, **how)
            for _ in range(round(seconds * hz))
        ]


MakeRig = Callable[..., Rig]


@pytest.fixture
def make_rig(tmp_path: Path, clock: Clock) -> Iterator[MakeRig]:
    rigs = []

    def make(
        bundle: Path | None = None,
        detector: Detector | None = None,
        live: bool = True,
        **settings: Any,
    ) -> Rig:
        bundle = bundle or _fake_variants(tmp_path / "neutral.fer", {"fp32": {}})
        rigs.append(Rig(bundle, clock, detector or WholeFrame(), Settings(**settings), live=live))
        return rigs[-1]

    yield make
    for rig in rigs:
        rig.inference.close()
