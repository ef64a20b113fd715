"""A network and data small enough to train in seconds, and one run that was trained."""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
import torch

from fer_edge.labels import EMOTIONS
from fer_edge.shipped import DEFAULT_BUNDLE, DEFAULT_CHECKPOINT, FACES
from fer_edge.training.checkpoint import Checkpoint
from fer_edge.training.config.schema import Augment, Data, Fit, Input, Model, Recipe
from fer_edge.training.evaluation.evaluate import evaluate_all
from fer_edge.training.loop.train import train
from fer_edge.training.models.network import ExpressionNet, InputSpec, ModelSpec
from fer_edge.training.reports import run_report

# The networks are tiny: two threads would wait for each other longer than they work.
torch.set_num_threads(1)
gc.freeze()  # each phase collects garbage, and would look at all modules each time: 0.3 s

GREY = InputSpec(48, "grey", (0.508,), (0.255,))
RGB = InputSpec(48, "rgb", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))

Untrained = Callable[..., Checkpoint]


@pytest.fixture(scope="session")
def untrained() -> Untrained:
    """Makes a checkpoint of a tiny network with random weights."""

    def make(
        colour: str = "grey", backbone: str = "test_byobnet", seed: int = 0, temperature: float = 1
    ) -> Checkpoint:
        torch.manual_seed(seed)
        spec = ModelSpec(backbone, EMOTIONS, GREY if colour == "grey" else RGB)
        facts = {"recipe": {"name": "none", "seed": seed}, "licences": {"data": "none"}}
        return Checkpoint(ExpressionNet(spec).eval(), temperature, 0.25, facts)

    return make


@pytest.fixture(scope="session")
def recipe() -> Recipe:
    """Uses every source of chance there is, so that a resumed run has all of them to repeat."""
    return Recipe(
        name="tiny",
        seed=1,
        model=Model("test_byobnet", dropout=0.1),
        input=Input(48, "grey", (0.508,), (0.255,)),
        data=Data(holdout=0.1),
        augment=Augment(flip=0.5, rotate_deg=5, translate=0.05, erase=0.2, mixup=0.2),
        fit=Fit(epochs=3, batch=16, lr=3e-3, optimizer="adamw", ema=0.5, grad_clip=5, workers=0),
    )


def write_part(path: Path, split: str, per_class: int, first: int = 0) -> None:
    """Composites ``first`` to ``first + per_class`` of each class of a shipped part."""
    rows = pyarrow.parquet.read_table(FACES / f"faces-{split}.parquet").to_pylist()
    chosen = []
    for name in EMOTIONS:
        chosen += [row for row in rows if row["label"] == name][first : first + per_class]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(chosen), path)


@pytest.fixture(scope="session")
def few_faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """84 composites to train on, as a folder with a train part only."""
    folder = tmp_path_factory.mktemp("few-faces")
    write_part(folder / "faces-train.parquet", "train", 12)
    return folder


@dataclass(frozen=True)
class Run:
    """A finished run: its folder, what it gave, and what it said and counted on the way."""

    folder: Path
    best: Path
    said: list[str]
    steps: list[tuple[str, int, int]]


@pytest.fixture(scope="session")
def finished(recipe: Recipe, few_faces: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """An unbroken run of the tiny recipe on the few faces. Copy it before changing anything."""
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    said: list[str] = []
    steps: list[tuple[str, int, int]] = []
    best = train(
        recipe, few_faces, folder, say=said.append, step=lambda w, d, t: steps.append((w, d, t))
    )
    return Run(folder, best, said, steps)


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Training draws no report: that takes longer than to train. tests/training/reports draw it."""
    monkeypatch.setattr(run_report, "draw_curves", lambda *_: None)
    monkeypatch.setattr(run_report, "write_run_report", lambda *_: None)


@pytest.fixture(scope="session")
def evaluation(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The shipped model in torch and in every variant that runs here, on 84 faces."""
    data = tmp_path_factory.mktemp("evaluation") / "f-val.parquet"
    table = pyarrow.parquet.read_table(FACES / "faces-val.parquet").to_pylist()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(table[::4]), data)
    return evaluate_all([DEFAULT_CHECKPOINT, DEFAULT_BUNDLE], data, target="all")
