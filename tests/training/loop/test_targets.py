"""Targets are distributions: the label, softened by votes and by a teacher where there are any."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fer_edge.errors import CheckpointError, RecipeError
from fer_edge.labels import EMOTIONS, SOURCE_ORDERS
from fer_edge.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from fer_edge.training.config.schema import Data, Recipe
from fer_edge.training.data.faces import LabelledFace
from fer_edge.training.data.holdout import Holdout, Split, split_data
from fer_edge.training.loop.targets import teacher_facts, train_targets

VOTERS = SOURCE_ORDERS["ferplus"]


def quiet(_: str) -> None:
    pass


def voted(label: str, **votes: int) -> LabelledFace:
    return LabelledFace(b"", label, "f", tuple(votes.get(name, 0) for name in VOTERS))


def split_of(train: list[LabelledFace], held: list[LabelledFace]) -> Split:
    return Split(train, held, dropped=0, fingerprint="f")


def agreeing(count: int) -> list[LabelledFace]:
    """Faces whose voters all say what the label says."""
    return [voted(name, **{name: 10}) for name in EMOTIONS for _ in range(count)]


@pytest.fixture
def votes(recipe: Recipe) -> Recipe:
    return replace(recipe, data=Data(soft_weight=0.5, votes=True))


def test_without_other_opinions_the_label_is_the_target(recipe: Recipe) -> None:
    targets = train_targets(split_of(agreeing(1), agreeing(1)), recipe, quiet)
    assert torch.equal(targets, torch.eye(len(EMOTIONS)))


def test_votes_are_translated_into_what_the_labels_call_them(votes: Recipe) -> None:
    """Contempt means anger if every face voted contempt is labelled anger."""
    contempt = [voted("anger", contempt=10)] * 8
    faces = [*agreeing(8), *contempt]
    targets = train_targets(split_of(faces, faces), votes, quiet)
    assert targets[-1, EMOTIONS.index("anger")] > 0.9


def test_votes_against_the_label_soften_it(votes: Recipe) -> None:
    faces = [*agreeing(8), voted("fear", surprise=10)]
    odd = train_targets(split_of(faces, faces), votes, quiet)[-1]
    assert odd[EMOTIONS.index("fear")] >= 0.5
    assert odd[EMOTIONS.index("surprise")] > 0.3


@given(
    counts=st.lists(
        st.lists(st.integers(0, 10), min_size=10, max_size=10), min_size=2, max_size=12
    ),
    weight=st.floats(0, 1),
)
def test_targets_are_distributions_whatever_the_votes(
    recipe: Recipe, counts: list[list[int]], weight: float
) -> None:
    faces = [LabelledFace(b"", EMOTIONS[i % 7], "f", tuple(v)) for i, v in enumerate(counts)]
    softened = replace(recipe, data=Data(soft_weight=weight, votes=True))
    targets = train_targets(split_of(faces, faces[:3]), softened, quiet)
    assert targets.shape == (len(faces), len(EMOTIONS))
    assert targets.dtype == torch.float32
    assert torch.allclose(targets.sum(1), torch.ones(len(faces)), atol=1e-5)
    assert (targets >= 0).all()
    own = targets[torch.arange(len(faces)), [i % 7 for i in range(len(faces))]]
    assert (own >= 1 - weight - 1e-6).all()


def test_a_source_without_votes_is_said(votes: Recipe) -> None:
    said: list[str] = []
    faces = [*agreeing(1), replace(agreeing(1)[0], votes=None)]
    targets = train_targets(split_of(faces, faces), votes, said.append)
    assert (targets.max(1).values == 1).all()
    assert any("no FER+ votes" in line for line in said)


# --- a teacher -----------------------------------------------------------------------------------


@pytest.fixture
def taught(recipe: Recipe, finished: Any) -> Recipe:
    return replace(
        recipe, data=replace(recipe.data, soft_weight=1.0, teachers=(str(finished.best),))
    )


def test_a_teacher_counts_for_what_it_is_worth(
    recipe: Recipe, taught: Recipe, few_faces: Path
) -> None:
    """Fitted on the faces it was not trained on, its opinion is no worse than chance."""
    said: list[str] = []
    split = split_data(few_faces, recipe.labels, Holdout.of(recipe), lambda *_: None)
    targets = train_targets(split, taught, said.append)
    assert torch.allclose(targets.sum(1), torch.ones(len(split.train)), atol=1e-5)
    assert not any("held out now" in line for line in said)
    loss = float(said[-1].split("cross-entropy ")[1].split()[0])
    assert loss <= np.log(len(EMOTIONS)) + 1e-3


def test_a_teacher_that_held_out_other_faces_is_said(taught: Recipe, few_faces: Path) -> None:
    other = replace(taught, seed=taught.seed + 1)
    said: list[str] = []
    train_targets(
        split_data(few_faces, other.labels, Holdout.of(other), lambda *_: None),
        other,
        said.append,
    )
    assert any("held out now" in line for line in said)


def test_the_order_of_the_teachers_labels_does_not_matter(
    recipe: Recipe, untrained: Callable[..., Checkpoint], few_faces: Path, tmp_path: Path
) -> None:
    split = split_data(few_faces, recipe.labels, Holdout.of(recipe), lambda *_: None)
    plain = untrained()
    save_checkpoint(plain, tmp_path / "plain")
    turned = untrained()
    head: Any = turned.model.head[1]
    with torch.no_grad():
        head.weight.copy_(head.weight.flip(0))
        head.bias.copy_(head.bias.flip(0))
    turned.model.spec = replace(turned.model.spec, labels=EMOTIONS[::-1])
    save_checkpoint(turned, tmp_path / "turned")
    targets = [
        train_targets(
            split,
            replace(recipe, data=replace(recipe.data, teachers=(str(tmp_path / name),))),
            quiet,
        )
        for name in ("plain", "turned")
    ]
    assert torch.allclose(*targets, atol=1e-4)


def test_who_taught_is_known_afterwards(taught: Recipe, finished: Any) -> None:
    (facts,) = teacher_facts(taught)
    assert facts["sha256"] == load_checkpoint(finished.best).sha256
    assert facts["recipe"]["name"] == "tiny"
    assert teacher_facts(replace(taught, data=Data())) == []


@pytest.mark.parametrize("data", ["fer2013", None, 1, ["a"]])
def test_a_card_may_state_anything_about_its_data(
    recipe: Recipe,
    untrained: Callable[..., Checkpoint],
    few_faces: Path,
    tmp_path: Path,
    data: Any,
) -> None:
    plain = untrained()
    save_checkpoint(replace(plain, facts={**plain.facts, "data": data}), tmp_path / "teacher")
    taught = replace(recipe, data=replace(recipe.data, teachers=(str(tmp_path / "teacher"),)))
    split = split_data(few_faces, recipe.labels, Holdout.of(recipe), lambda *_: None)
    said: list[str] = []
    assert len(train_targets(split, taught, said.append)) == len(split.train)
    assert "was trained on other data" in said[0]


def test_a_teacher_that_is_not_there_is_named(taught: Recipe, few_faces: Path) -> None:
    missing = replace(taught, data=replace(taught.data, teachers=("no-such-teacher",)))
    with pytest.raises(CheckpointError, match="no-such-teacher"):
        train_targets(
            split_data(few_faces, missing.labels, Holdout.of(missing), lambda *_: None),
            missing,
            quiet,
        )


def test_a_teacher_that_knows_other_labels_is_refused(
    recipe: Recipe, untrained: Callable[..., Checkpoint], few_faces: Path, tmp_path: Path
) -> None:
    other = untrained()
    other.model.spec = replace(other.model.spec, labels=("contempt", *EMOTIONS[1:]))
    save_checkpoint(other, tmp_path / "teacher")
    taught = replace(recipe, data=replace(recipe.data, teachers=(str(tmp_path / "teacher"),)))
    with pytest.raises(RecipeError, match="contempt"):
        train_targets(
            split_data(few_faces, recipe.labels, Holdout.of(recipe), lambda *_: None),
            taught,
            quiet,
        )
