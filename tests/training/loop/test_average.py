"""The weight average of a short run is of the run, not of its start."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
import torch

from fer_edge.shipped import FACES
from fer_edge.training.config.recipe import load_recipe
from fer_edge.training.config.schema import Augment, Data, Fit, Input, Model, Recipe
from fer_edge.training.loop.loader import train_loader
from fer_edge.training.loop.train import train

pytestmark = pytest.mark.usefixtures("undrawn")

TINY = Recipe(
    name="tiny",
    seed=1,
    model=Model("test_byobnet"),
    input=Input(48, "grey", (0.508,), (0.255,)),
    data=Data(holdout=0.2),
    augment=Augment(),
    fit=Fit(epochs=2, batch=16, lr=3e-3, optimizer="adamw", workers=0, ema=0.999),
)


def weights(run: Path, part: str) -> torch.Tensor:
    """All parameters of a part of state.pt in one vector."""
    state = torch.load(run / "state.pt", weights_only=True)[part]
    return torch.cat([v.flatten().float() for k, v in sorted(state.items()) if "running" not in k])


def test_the_average_forgets_the_start(tmp_path: Path) -> None:
    train(TINY, FACES, tmp_path / "once", say=lambda _: None)
    with_start = replace(TINY, fit=replace(TINY.fit, lr=1e-9))
    train(with_start, FACES, tmp_path / "start", say=lambda _: None)
    start = weights(tmp_path / "start", "net")
    net, average = (weights(tmp_path / "once", part) for part in ("net", "average"))
    assert (average - net).norm() < 0.5 * (start - net).norm()


@pytest.mark.parametrize("count", [17, 33, 40, 171])
def test_a_small_set_loses_no_faces(count: int, few_faces: Path) -> None:
    from fer_edge.training.data.faces import load_faces

    faces = (load_faces(FACES, "train") * 2)[:count]
    spec = load_recipe("edge-default").input
    recipe = replace(TINY, fit=replace(TINY.fit, batch=32))
    targets = torch.zeros(count, 7)
    targets[:, 0] = torch.arange(count)
    loader = train_loader(recipe, faces, targets, _spec(spec), torch.Generator(), 0)
    parts = [target[:, 0].long().tolist() for _, target in loader]
    assert {index for part in parts for index in part} == set(range(count))
    assert {len(part) for part in parts} == {min(count, 32)}


def _spec(made: Input) -> object:
    from fer_edge.training.models.network import InputSpec

    return InputSpec(made.size_px, made.colour, made.mean, made.std)


@pytest.mark.slow
def test_sixty_pictures_a_class_are_enough(tmp_path: Path) -> None:
    """Three user-defined classes, from the shipped checkpoint, with the recipe's own average."""
    names = {"happiness": "awake", "sadness": "drowsy", "surprise": "distracted"}
    table = pyarrow.parquet.read_table(FACES / "faces-train.parquet").to_pylist()
    import cv2

    label_key = "label" if "label" in table[0] else "fer2013_label"
    counts = dict.fromkeys(names.values(), 0)
    spelt = {"happy": "happiness", "sad": "sadness"}
    for row in table:
        own = names.get(spelt.get(str(row[label_key]), str(row[label_key])))
        if own is None or counts[own] >= 60:
            continue
        folder = tmp_path / "data" / own
        folder.mkdir(parents=True, exist_ok=True)
        pixels = cv2.imdecode(np.frombuffer(row["image"]["bytes"], np.uint8), cv2.IMREAD_COLOR)
        cv2.imwrite(str(folder / f"{counts[own]}.png"), pixels)
        counts[own] += 1
    assert min(counts.values()) >= 40
    lines: list[str] = []
    recipe = load_recipe("finetune", ("fit.epochs=4", "fit.workers=0"))  # labels: of the folders
    say: Callable[[str], None] = lines.append
    train(recipe, tmp_path / "data", tmp_path / "run", say=say)
    marked = [line for line in lines if "held-out accuracy" in line]
    accuracies = [float(line.split("held-out accuracy ")[1].split()[0]) for line in marked]
    assert accuracies[-1] > 0.8
