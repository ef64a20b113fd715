"""A killed run is resumed to the weights of an unbroken one."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from fer_edge.errors import TrainingError
from fer_edge.labels import EMOTIONS
from fer_edge.training.checkpoint import load_checkpoint, save_checkpoint
from fer_edge.training.config.schema import Augment, Model, Phase, Recipe
from fer_edge.training.data.faces import load_faces
from fer_edge.training.loop.opinions import write_opinion
from fer_edge.training.loop.train import train

pytestmark = pytest.mark.usefixtures("undrawn")

ONE_MORE = Phase("head", 1, 1e-3)
VIT = Model("test_vit", dropout=0.1, backbone_args={"img_size": 48})


@dataclass(frozen=True)
class Case:
    """Changes to the tiny recipe, and the epochs in which its run is killed."""

    killed_in: tuple[int, ...]
    fit: dict[str, Any] = field(default_factory=dict)
    model: Model | None = None
    every_augmentation: bool = False


TWO_MORE = (Phase("last 1", 2, 1e-3), ONE_MORE)
CASES = {
    "once": Case((2,)),
    "twice": Case((1, 3)),
    "worker": Case((2,), {"workers": 1}),
    "fp16": Case((2,), {"precision": "fp16"}),
    "augmentations and sampling": Case(
        (2,),
        {"epochs": 2, "schedule": "cosine", "sampling": "balanced"},
        every_augmentation=True,
    ),
    "phases": Case((2, 3), {"train": "head", "epochs": 1, "then": TWO_MORE}),
    "gradual": Case((2,), {"train": "gradual 1", "accumulate": 2}),
    "plateau": Case(
        (3,), {"schedule": "plateau 1 0.5", "warmup": 0, "ema": 0, "epochs": 4, "lr": 0.1}
    ),
    "early stopping": Case(
        (2,), {"lr": 0.03, "epochs": 9, "patience": 1, "confirm": 1, "schedule": "step 2 0.5"}
    ),
    "lora": Case((2, 3), {"train": "lora 2", "epochs": 2, "then": (ONE_MORE,)}, VIT),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_a_resumed_run_ends_with_the_weights_of_an_unbroken_one(
    helpers: Any,
    recipe: Recipe,
    every_augmentation: Augment,
    few_faces: Path,
    finished: Any,
    tmp_path: Path,
    name: str,
) -> None:
    case, unbroken, run = CASES[name], finished.folder, tmp_path / "run"
    augment = replace(every_augmentation, crop_px=None)
    changed = replace(
        recipe,
        fit=replace(recipe.fit, **case.fit),
        model=case.model or recipe.model,
        augment=augment if case.every_augmentation else recipe.augment,
    )
    if changed != recipe:
        unbroken = tmp_path / "unbroken"
        train(changed, few_faces, unbroken, say=helpers.quiet)
    for epoch in case.killed_in:
        stop = helpers.stop_in(epoch)
        with pytest.raises(helpers.KillError):
            train(changed, few_faces, run, resume=True, say=helpers.quiet, step=stop)
        assert len(helpers.rows(run)) == epoch - 1
        torch.rand(7)  # random numbers drawn between the two runs must not matter
    train(changed, few_faces, run, resume=True, say=helpers.quiet)
    assert helpers.rows(run) == helpers.rows(unbroken)
    one, other = helpers.state(run), helpers.state(unbroken)
    assert one["at"] == other["at"]
    for part in ("net", "average"):
        assert set(one.get(part, ())) == set(other.get(part, ()))
        for tensor_name, tensor in one.get(part, {}).items():
            assert torch.equal(tensor, other[part][tensor_name]), tensor_name
    assert torch.equal(
        torch.cat([s["exp_avg"].ravel() for s in one["optimizer"]["state"].values()]),
        torch.cat([s["exp_avg"].ravel() for s in other["optimizer"]["state"].values()]),
    )
    assert helpers.files(run / "best") == helpers.files(unbroken / "best")


@pytest.mark.parametrize("other", ["seed", "epochs", "data"])
def test_a_run_is_not_resumed_with_another_recipe_or_other_data(
    helpers: Any, recipe: Recipe, few_faces: Path, finished: Any, tmp_path: Path, other: str
) -> None:
    before, source = helpers.files(finished.folder), few_faces
    if other == "seed":
        recipe = replace(recipe, seed=2)
    elif other == "epochs":
        recipe = replace(recipe, fit=replace(recipe.fit, epochs=9))
    else:
        source = helpers.write_parts(
            tmp_path, helpers.few_rows(few_faces)[:-1], helpers.few_rows(few_faces)[-1:]
        )
    with pytest.raises(TrainingError, match="another recipe or other data"):
        train(recipe, source, finished.folder, resume=True, say=helpers.quiet)
    assert helpers.files(finished.folder) == before


@pytest.mark.parametrize("kind", ["opinions", "teachers"])
def test_a_run_is_not_resumed_with_teachers_that_changed(
    helpers: Any,
    recipe: Recipe,
    few_faces: Path,
    untrained: Any,
    tmp_path: Path,
    kind: str,
) -> None:
    run, source = tmp_path / "run", tmp_path / ("o.parquet" if kind == "opinions" else "teacher")
    faces = load_faces(few_faces, "train")

    def teach(seed: int) -> None:
        torch.manual_seed(seed)
        if kind == "opinions":
            write_opinion(source, faces, torch.randn(len(faces), len(EMOTIONS)), EMOTIONS)
        else:
            save_checkpoint(untrained(seed=seed), source)

    taught = replace(recipe, data=replace(recipe.data, **{kind: (str(source),)}))
    taught = replace(taught, fit=replace(taught.fit, epochs=1))
    teach(1)
    train(taught, few_faces, run, say=helpers.quiet)
    train(taught, few_faces, run, resume=True, say=helpers.quiet)
    teach(2)
    before = helpers.files(run)
    with pytest.raises(TrainingError, match=r"started with other teachers.* another folder"):
        train(taught, few_faces, run, resume=True, say=helpers.quiet)
    assert helpers.files(run) == before
    state = helpers.state(run)
    del state["taught_by"]  # as an older version wrote it
    torch.save(state, run / "state.pt")
    train(taught, few_faces, run, resume=True, say=helpers.quiet)


def test_a_finished_run_is_resumed_to_the_same_checkpoint(
    helpers: Any, recipe: Recipe, few_faces: Path, finished: Any, tmp_path: Path
) -> None:
    run = Path(shutil.copytree(finished.folder, tmp_path / "run"))
    train(recipe, few_faces, run, resume=True, say=helpers.quiet)
    assert helpers.files(run / "best") == helpers.files(finished.best)
    assert helpers.rows(run) == helpers.rows(finished.folder)


def test_a_damaged_state_is_a_training_error(
    helpers: Any, recipe: Recipe, few_faces: Path, finished: Any, tmp_path: Path
) -> None:
    run = Path(shutil.copytree(finished.folder, tmp_path / "run"))
    (run / "state.pt").write_bytes((run / "state.pt").read_bytes()[:1000])
    with pytest.raises(TrainingError, match=r"state\.pt"):
        train(recipe, few_faces, run, resume=True, say=helpers.quiet)


@pytest.mark.parametrize("missing", ["recipe", "data", "at", "net"])
def test_a_state_of_another_program_is_a_training_error(
    helpers: Any, recipe: Recipe, few_faces: Path, finished: Any, tmp_path: Path, missing: str
) -> None:
    run = Path(shutil.copytree(finished.folder, tmp_path / "run"))
    state = torch.load(run / "state.pt", weights_only=True)
    del state[missing]
    torch.save(state, run / "state.pt")
    with pytest.raises(TrainingError):
        train(recipe, few_faces, run, resume=True, say=helpers.quiet)


def test_a_resumed_run_keeps_its_licence(
    helpers: Any, recipe: Recipe, few_faces: Path, tmp_path: Path
) -> None:
    def started(licence: str | None, **options: Any) -> dict[str, Any]:
        train(recipe, few_faces, run, licence=licence, say=helpers.quiet, **options)
        return dict(load_checkpoint(run / "best").facts["licences"])

    run = tmp_path / "run"
    with pytest.raises(helpers.KillError):
        started("research use", step=helpers.stop_in(2))
    assert started(None, resume=True) == {"data": "research use"}
    assert started("any use", resume=True) == {"data": "any use"}
    assert started(None, resume=True) == {"data": "any use"}
    facts = json.loads((run / "run.json").read_text("utf-8"))
    (run / "run.json").write_text(json.dumps({**facts, "licences": None}), "utf-8")
    assert started(None, resume=True) == {"data": "not stated"}
