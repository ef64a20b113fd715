"""Faces without labels join the training; teachers alone make their targets."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fer_edge.errors import DataError, RecipeError, TrainingError
from fer_edge.labels import EMOTIONS
from fer_edge.shipped import DEFAULT_CHECKPOINT, FACES
from fer_edge.training.checkpoint import load_checkpoint
from fer_edge.training.config.schema import Data, Recipe
from fer_edge.training.data.faces import load_faces, pixel_hash
from fer_edge.training.data.folds import Fold
from fer_edge.training.data.holdout import Holdout, Split, Unlabelled, split_data
from fer_edge.training.loop.loader import train_loader
from fer_edge.training.loop.resume import Position, load_state, save_state, save_tensors
from fer_edge.training.loop.targets import train_targets
from fer_edge.training.loop.train import train
from fer_edge.training.models.network import InputSpec

pytestmark = pytest.mark.usefixtures("undrawn")

GREY = InputSpec(48, "grey", (0.508,), (0.255,))


def quiet(_: str) -> None:
    pass


def rows(part: str, first: int, count: int) -> list[dict[str, Any]]:
    content: list[dict[str, Any]] = pyarrow.parquet.read_table(
        FACES / f"faces-{part}.parquet"
    ).to_pylist()[first : first + count]
    return content


def people_rows(count: int = 24) -> list[dict[str, Any]]:
    """Faces that are not among the few faces: 40 of a class come after each other."""
    return [{**row, "name": f"p{i}"} for i, row in enumerate(rows("val", 60, count))]


def write(path: Path, content: Sequence[dict[str, Any]]) -> Path:
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(list(content)), path)
    return path


@pytest.fixture
def people(tmp_path: Path) -> Path:
    content = [{k: row[k] for k in ("name", "image")} for row in people_rows()]
    return write(tmp_path / "people.parquet", content)


@pytest.fixture
def taught(recipe: Recipe, finished: Any, people: Path) -> Recipe:
    data = replace(recipe.data, teachers=(str(finished.best),), unlabelled=(str(people),))
    return replace(recipe, data=data)


def split_for(recipe: Recipe, faces: Path) -> Split:
    return split_data(
        faces,
        recipe.labels,
        Holdout.of(recipe),
        lambda *_: None,
        quiet,
        unlabelled=recipe.data.unlabelled,
    )


def test_without_a_teacher_they_are_refused() -> None:
    with pytest.raises(RecipeError, match=r"data\.teachers beside data\.unlabelled"):
        Data(unlabelled=("people.parquet",))


# --- the split -----------------------------------------------------------------------------------


def test_they_are_trained_on_and_never_held_out(taught: Recipe, few_faces: Path) -> None:
    plain = split_for(replace(taught, data=replace(taught.data, unlabelled=())), few_faces)
    split = split_for(taught, few_faces)
    assert (split.train, split.held_out, split.fingerprint) == (
        plain.train,
        plain.held_out,
        plain.fingerprint,
    )
    assert [face.name for face in split.learnt[len(split.train) :]] == [f"p{i}" for i in range(24)]
    assert {face.label for face in split.learnt[len(split.train) :]} == {""}
    assert split.identity != plain.identity


def test_pictures_of_the_validation_and_held_out_parts_are_dropped(
    helpers: Any, taught: Recipe, few_faces: Path, tmp_path: Path
) -> None:
    held = split_for(replace(taught, data=replace(taught.data, unlabelled=())), few_faces).held_out
    names = {face.name for face in held}
    shown = [row for row in helpers.few_rows(few_faces) if row["name"] in names]
    mixed = write(tmp_path / "mixed.parquet", [*people_rows(5), *shown])
    changed = replace(taught, data=replace(taught.data, unlabelled=(str(mixed),)))
    split = split_for(changed, few_faces)
    assert split.unlabelled is not None
    assert [face.name for face in split.unlabelled.faces] == [f"p{i}" for i in range(5)]
    assert split.unlabelled.dropped == len(shown)
    both = helpers.write_parts(tmp_path, helpers.few_rows(few_faces), people_rows(2))
    split = split_for(changed, both)
    assert split.unlabelled is not None
    hashes = {pixel_hash(face) for face in split.unlabelled.faces}
    assert not hashes & {pixel_hash(face) for face in load_faces(both, "val", EMOTIONS)}


@pytest.mark.parametrize("column", ["subject", "clip"])
def test_a_held_out_subject_or_clip_is_not_trained_on(
    helpers: Any, taught: Recipe, few_faces: Path, tmp_path: Path, column: str
) -> None:
    known = [{**row, column: f"s{i % 20}"} for i, row in enumerate(helpers.few_rows(few_faces))]
    labelled = write(tmp_path / "known-train.parquet", known)
    others = [{**row, column: f"s{i}"} for i, row in enumerate(people_rows(24))]
    some = write(tmp_path / "some.parquet", others)
    split = split_for(
        replace(taught, data=replace(taught.data, unlabelled=(str(some),), holdout=0.2)), labelled
    )
    assert split.unlabelled is not None
    held = {getattr(face, column) for face in split.held_out}
    assert held
    kept = {getattr(face, column) for face in split.unlabelled.faces}
    assert kept == {f"s{i}" for i in range(24)} - held
    assert split.unlabelled.dropped == len(held)


def test_nothing_left_is_an_error(taught: Recipe, few_faces: Path, helpers: Any) -> None:
    same = replace(taught, data=replace(taught.data, unlabelled=(f"{few_faces}@without=0/1",)))
    with pytest.raises(DataError, match="no face"):
        split_for(same, few_faces)


# --- the targets ---------------------------------------------------------------------------------


def test_their_targets_are_the_teachers_alone(taught: Recipe, few_faces: Path) -> None:
    """Neither the share of the label nor the votes count for them."""
    split = split_for(taught, few_faces)
    n = len(split.train)
    hard = train_targets(split, replace(taught, data=replace(taught.data, soft_weight=0)), quiet)
    soft = train_targets(split, replace(taught, data=replace(taught.data, soft_weight=1)), quiet)
    assert hard.shape == (n + 24, len(EMOTIONS))
    assert hard.dtype == torch.float32
    assert set(hard[:n].unique().tolist()) == {0, 1}
    assert torch.equal(hard[n:], soft[n:])
    assert torch.allclose(soft.sum(1), torch.ones(n + 24), atol=1e-5)


def test_votes_change_the_labelled_faces_alone(taught: Recipe, few_faces: Path) -> None:
    split = split_for(taught, few_faces)

    def voted(faces: list[Any]) -> list[Any]:
        return [
            replace(f, votes=tuple(int(3 * i % 7 == j) for j in range(10)))
            for i, f in enumerate(faces)
        ]

    split = replace(split, train=voted(split.train), held_out=voted(split.held_out))
    n = len(split.train)
    plain = train_targets(split, taught, quiet)
    votes = train_targets(split, replace(taught, data=replace(taught.data, votes=True)), quiet)
    assert not torch.allclose(plain[:n], votes[:n])
    assert torch.equal(plain[n:], votes[n:])


def test_a_label_that_the_set_has_does_not_leak(
    taught: Recipe, few_faces: Path, people: Path, tmp_path: Path
) -> None:
    lying = write(tmp_path / "lying.parquet", [{**r, "label": "fear"} for r in people_rows()])
    told = replace(taught, data=replace(taught.data, unlabelled=(str(lying),)))
    one, other = (split_for(each, few_faces) for each in (taught, told))
    assert one.unlabelled is not None
    assert other.unlabelled is not None
    assert one.unlabelled.fingerprint == other.unlabelled.fingerprint
    assert torch.equal(train_targets(one, taught, quiet), train_targets(other, told, quiet))


@settings(max_examples=5, deadline=None)
@given(order=st.permutations(range(12)))
def test_the_order_of_the_faces_does_not_change_a_target(
    recipe: Recipe, finished: Any, few_faces: Path, order: list[int]
) -> None:
    data = replace(recipe.data, teachers=(str(finished.best),))
    split = split_for(replace(recipe, data=data), few_faces)
    faces = load_faces(f"{FACES}@labels=none", "val", say=quiet)[60:72]

    def targets(chosen: list[Any]) -> torch.Tensor:
        more = Unlabelled(chosen, 0, "f", ())
        shown = train_targets(replace(split, unlabelled=more), replace(recipe, data=data), quiet)
        return shown[len(split.train) :]

    assert torch.allclose(targets([faces[i] for i in order]), targets(faces)[order], atol=1e-4)


def test_a_shipped_model_teaches_by_its_name(recipe: Recipe, few_faces: Path) -> None:
    named, by_path = (
        replace(recipe, data=replace(recipe.data, teachers=(teacher,)))
        for teacher in ("default", str(DEFAULT_CHECKPOINT))
    )
    split = split_for(named, few_faces)
    assert torch.equal(train_targets(split, named, quiet), train_targets(split, by_path, quiet))


# --- the run -------------------------------------------------------------------------------------


def test_balanced_sampling_counts_them_as_what_their_targets_name(
    taught: Recipe, few_faces: Path
) -> None:
    balanced = replace(taught, fit=replace(taught.fit, sampling="balanced"))
    split = split_for(taught, few_faces)
    n = len(split.train)
    targets = torch.zeros(n + 24, len(EMOTIONS))
    targets[n:, 3] = 1
    loader = train_loader(balanced, split.learnt, targets, GREY, torch.Generator(), 0)
    weights: Any = loader.sampler
    each = weights.weights.tolist()
    happy = [i for i, face in enumerate(split.train) if face.label == EMOTIONS[3]]
    assert sum(each[i] for i in (*happy, *range(n, n + 24))) == pytest.approx(1)
    assert sum(each) == pytest.approx(len(EMOTIONS))


@pytest.fixture
def short(taught: Recipe, people: Path) -> Recipe:
    data = replace(taught.data, unlabelled=(f"{people}@without=0/3",))
    return replace(taught, fit=replace(taught.fit, epochs=2, sampling="balanced"), data=data)


def test_a_run_names_them_and_is_resumed_bit_for_bit(
    helpers: Any, short: Recipe, few_faces: Path, people: Path, tmp_path: Path
) -> None:
    said: list[str] = []
    best = train(short, few_faces, tmp_path / "unbroken", say=said.append)
    faces = load_faces(f"{people}@labels=none", "train")
    rest = len(faces) - len(Fold(0, 3).of(faces, str(people)))
    assert any(line.startswith(f"{rest} faces without labels to train on") for line in said)
    facts = load_checkpoint(best).facts["data"]["unlabelled"]
    assert facts["sources"] == ["people.parquet@labels=none,without=0/3"]
    assert facts["faces"] == rest
    written = json.loads((tmp_path / "unbroken" / "run.json").read_text("utf-8"))
    assert written["data"]["unlabelled"] == facts
    with pytest.raises(helpers.KillError):
        train(short, few_faces, tmp_path / "run", say=quiet, step=helpers.stop_in(2))
    train(short, few_faces, tmp_path / "run", resume=True, say=quiet)
    assert helpers.files(tmp_path / "run" / "best") == helpers.files(best)
    assert helpers.rows(tmp_path / "run") == helpers.rows(tmp_path / "unbroken")
    write(people, people_rows(23))
    with pytest.raises(TrainingError, match="another recipe or other data"):
        train(short, few_faces, tmp_path / "run", resume=True, say=quiet)


def test_a_run_of_an_older_version_is_resumed(recipe: Recipe, tmp_path: Path) -> None:
    """Its recipe lacks the keys that came later, and its position has a key that is gone."""
    older: dict[str, Any] = recipe.as_dict()
    del older["data"]["unlabelled"], older["data"]["opinions"]
    state = tmp_path / "state.pt"
    position = {**asdict(Position(epoch=2)), "best_epoch": 1}
    save_tensors(state, {"at": position, "recipe": json.dumps(older), "data": "f"})
    at, _ = load_state(state, json.dumps(recipe.as_dict()), "f", [])
    assert at == Position(epoch=2)
    changed = replace(recipe, data=replace(recipe.data, opinions=("more.parquet",)))
    with pytest.raises(TrainingError, match="another recipe or other data"):
        load_state(state, json.dumps(changed.as_dict()), "f", [])


@pytest.mark.parametrize("recipe_text", ["", "[]", '{"name": 1}', '{"later": {}}'])
def test_a_state_with_a_damaged_recipe_is_not_resumed(
    recipe: Recipe, tmp_path: Path, recipe_text: str
) -> None:
    state = tmp_path / "state.pt"
    save_state(state, Position(), {"recipe": recipe_text, "data": "f"})
    with pytest.raises(TrainingError, match="another recipe or other data"):
        load_state(state, json.dumps(recipe.as_dict()), "f", [])
