"""A tiny network that was trained a little, and what every test of a conversion needs of it.

Random weights would not do: their answers hardly differ between faces, and a gate that compares
them would see nothing. A few epochs on the shipped composites (seconds) give seven classes with
most answers right, and others unsure, as a real network's are.
"""

from __future__ import annotations

import functools
import hashlib
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from fer_edge.backends.base import Outputs
from fer_edge.converters import onnxruntime
from fer_edge.converters.onnx_graph.export import export_onnx
from fer_edge.converters.pipeline import face_samples, prepare
from fer_edge.converters.pipeline.face_samples import FaceSamples, calibration_faces, parity_faces
from fer_edge.converters.pipeline.matrix_networks import SMALL, fitted
from fer_edge.errors import MissingDependencyError
from fer_edge.labels import EMOTIONS
from fer_edge.preprocess import CROP_MARGIN, CropRule
from fer_edge.shipped import FACES
from fer_edge.training.checkpoint import Checkpoint, load_checkpoint
from fer_edge.training.config.schema import Augment, Data, Fit, Input, Model, Recipe
from fer_edge.training.deploy import DeployModule
from fer_edge.training.loop.train import train
from fer_edge.training.reports import run_report

# The network is tiny: two threads would wait for each other longer than they work.
torch.set_num_threads(1)

RULE = CropRule(48, CROP_MARGIN)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Generator[None, object, object]:
    """Skip what needs a converter that has an environment of its own; CI makes it."""
    return (yield from _skipping())


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup() -> Generator[None, object, object]:
    """Skip likewise what needs it in a fixture."""
    return (yield from _skipping())


def _skipping() -> Generator[None, object, object]:
    try:
        return (yield)
    except MissingDependencyError as error:
        if "setup-converter" not in str(error):
            raise
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Trains a tiny network, by its name in timm, on the composites."""

    @functools.cache
    def made(backbone: str) -> Path:
        recipe = Recipe(
            name="tiny",
            seed=1,
            model=Model(backbone),
            input=Input(48, "grey", (0.508,), (0.255,)),
            data=Data(holdout=0.1),
            augment=Augment(),
            fit=Fit(epochs=14, batch=16, lr=3e-3, optimizer="adamw", workers=0),
        )
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(run_report, "draw_curves", lambda *_: None)
            patch.setattr(run_report, "write_run_report", lambda *_: None)
            folder = tmp_path_factory.mktemp("runs") / "tiny"
            return train(recipe, FACES, folder, say=lambda _: None)

    return made


@pytest.fixture(scope="session")
def checkpoint(trained: Callable[[str], Path]) -> Path:
    """The checkpoint folder."""
    return trained("test_byobnet")


FACES_HERE = 336
"""Faces that judge in these tests: fewer than a verdict needs, and quick."""


@pytest.fixture(scope="session", autouse=True)
def few_faces() -> Iterator[None]:
    """Conversions here are judged on few faces; tests of verdicts give their own answers."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(face_samples, "JUDGING_FACES", FACES_HERE)
        yield


@pytest.fixture(scope="session", autouse=True)
def exports_once() -> Iterator[None]:
    """Conversions here export each network once: it takes seconds."""
    made: dict[str, bytes] = {}

    def once(network: Checkpoint) -> bytes:
        facts = (type(network.model), network.spec, network.sha256, network.temperature)
        digest = hashlib.sha256(repr(facts).encode())
        for name, values in network.model.state_dict().items():
            digest.update(name.encode() + values.detach().numpy().tobytes())
        key = digest.hexdigest()
        if key not in made:
            made[key] = export_onnx(network)
        return made[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prepare, "export_onnx", once)
        yield


@pytest.fixture
def two_recipes(monkeypatch: pytest.MonkeyPatch) -> None:
    """ONNX Runtime's int8 is calibrated with its first two recipes: each takes seconds."""
    every = onnxruntime.recipes
    monkeypatch.setattr(onnxruntime, "recipes", lambda *inputs: every(*inputs)[:2])


@pytest.fixture(scope="session")
def gate(few_faces: None) -> FaceSamples:
    return parity_faces(None, EMOTIONS, RULE)


@pytest.fixture(scope="session")
def calibration(gate: FaceSamples) -> FaceSamples:
    return calibration_faces(None, EMOTIONS, RULE, gate, seed=2026)


@dataclass(frozen=True)
class Small:
    """A network of the matrix's small ones, fitted to the composites that also calibrate it."""

    rule: CropRule
    gate: FaceSamples
    calibration: FaceSamples
    network: Checkpoint
    graph: bytes


@pytest.fixture(scope="session")
def small() -> Callable[[str], Small]:
    """By its name in the matrix."""

    @functools.cache
    def made(name: str) -> Small:
        rule = CropRule(SMALL[name].input.size_px, CROP_MARGIN)
        gate = parity_faces(None, EMOTIONS, rule)
        faces = calibration_faces(None, EMOTIONS, rule, gate, seed=2026)
        network = fitted(SMALL[name], faces)
        return Small(rule, gate, faces, network, export_onnx(network))

    return made


@pytest.fixture(scope="session")
def graph(checkpoint: Path) -> bytes:
    """The exported ONNX."""
    return export_onnx(load_checkpoint(checkpoint))


@pytest.fixture(scope="session")
def reference(checkpoint: Path, gate: FaceSamples) -> Outputs:
    """Torch's outputs for the gate's faces."""
    return DeployModule(load_checkpoint(checkpoint)).run(gate.images)


@pytest.fixture(scope="session")
def composites() -> FaceSamples:
    """The composites as they are shipped, the kind of face that the tiny network learnt."""
    return parity_faces(FACES, EMOTIONS, RULE)


@pytest.fixture(scope="session")
def expected(checkpoint: Path, composites: FaceSamples) -> Outputs:
    """Torch's outputs for the composites."""
    return DeployModule(load_checkpoint(checkpoint)).run(composites.images)


@pytest.fixture
def wait_for() -> Callable[[Callable[[], Any]], Any]:
    """Waits until a condition is true, and returns its value; a minute at most."""

    def wait(condition: Callable[[], Any]) -> Any:
        for _ in range(1200):
            if answer := condition():
                return answer
            time.sleep(0.05)
        pytest.fail("nothing happened within a minute")

    return wait
