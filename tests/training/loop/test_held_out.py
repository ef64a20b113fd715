"""Held-out faces count as they are, and once more under an effect of the recipe."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch

from fer_edge.errors import RecipeError
from fer_edge.preprocess import Image
from fer_edge.shipped import FACES, checkpoint_path
from fer_edge.training.checkpoint import Checkpoint, load_checkpoint
from fer_edge.training.config.schema import InCar
from fer_edge.training.data.faces import LabelledFace, load_faces
from fer_edge.training.evaluation.calibrate import BAR, FEW
from fer_edge.training.loop import held_out as held_out_module
from fer_edge.training.loop.held_out import HeldOut, effects_of
from fer_edge.training.loop.incar import CHANGES, one_of
from fer_edge.training.loop.selection import calibrated

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    return load_checkpoint(checkpoint_path("fast"))


@pytest.fixture(scope="module")
def faces() -> list[LabelledFace]:
    return load_faces(FACES, "train")[::2]


def test_without_effects_each_face_counts_once(
    checkpoint: Checkpoint, faces: list[LabelledFace]
) -> None:
    held_out = HeldOut(faces, checkpoint.spec.input, InCar())
    plain, judged = held_out.logits(checkpoint.model, CPU)
    assert plain.shape == judged.shape == (len(faces), 7)
    assert len(held_out.truth(checkpoint.spec.labels)) == len(faces)


def test_with_effects_each_face_counts_twice_and_always_the_same(
    checkpoint: Checkpoint, faces: list[LabelledFace]
) -> None:
    held_out = HeldOut(faces, checkpoint.spec.input, InCar(night_noise=0.1, mask=0.1))
    before = torch.get_rng_state()
    plain, judged = held_out.logits(checkpoint.model, CPU)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(judged[: len(faces)], plain)
    assert not torch.isclose(judged[len(faces) :], plain).all(1).any()  # every face is changed
    assert torch.equal(held_out.logits(checkpoint.model, CPU)[1], judged)
    truth = held_out.truth(checkpoint.spec.labels)
    assert torch.equal(truth[: len(faces)], truth[len(faces) :])


@pytest.mark.parametrize(("room", "reads"), [(2**28, 1), (0, 2)])
def test_faces_are_read_once_if_they_fit_in_memory(
    checkpoint: Checkpoint,
    faces: list[LabelledFace],
    monkeypatch: pytest.MonkeyPatch,
    room: int,
    reads: int,
) -> None:
    monkeypatch.setattr(held_out_module, "_KEPT_BYTES", room)
    held_out = HeldOut(faces, checkpoint.spec.input, InCar(night_noise=0.1, mask=0.1))
    read, count = LabelledFace.read, Counter[str]()

    def counted(face: LabelledFace) -> Image:
        count[face.name] += 1
        return read(face)

    monkeypatch.setattr(LabelledFace, "read", counted)
    first, again = (held_out.logits(checkpoint.model, CPU)[1] for _ in range(2))
    assert torch.equal(first, again)
    assert set(count.values()) == {2 * reads}  # as it is, and under an effect


def test_each_effect_changes_every_face_and_always_the_same(
    checkpoint: Checkpoint, faces: list[LabelledFace]
) -> None:
    held_out = HeldOut(faces, checkpoint.spec.input, InCar(night_noise=0.1, mask=0.01))
    before = torch.get_rng_state()
    first, second = held_out.under_each_effect(checkpoint.model, CPU)
    assert torch.equal(torch.get_rng_state(), before)
    assert not torch.isclose(first, second).all(1).any()
    assert torch.equal(list(held_out.under_each_effect(checkpoint.model, CPU))[1], second)
    none = HeldOut(faces, checkpoint.spec.input, InCar())
    assert not list(none.under_each_effect(checkpoint.model, CPU))


def test_a_threshold_holds_under_each_effect(
    checkpoint: Checkpoint, faces: list[LabelledFace]
) -> None:
    """An effect that is rare in training counts as much as a frequent one."""
    spec = checkpoint.spec.input
    held_out = HeldOut(faces, spec, InCar(low_light=0.99, mask=0.01))
    made, _ = calibrated(checkpoint, held_out, CPU)
    truth = held_out.truth(checkpoint.spec.labels)[: len(faces)]
    for logits in held_out.under_each_effect(checkpoint.model, CPU):
        confidence, answer = (logits / made.temperature).softmax(1).max(1)
        answered = confidence >= made.abstain_below
        right = int((answer == truth)[answered].sum())
        assert int(answered.sum()) <= FEW * len(faces) or right >= BAR * int(answered.sum())


def test_effects_are_drawn_by_their_shares(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[str] = []
    for name in CHANGES:
        monkeypatch.setitem(CHANGES, name, lambda x, name=name: drawn.append(name) or x)
    assert one_of(InCar()) is None
    change = one_of(InCar(mask=0.03, defocus=0.01))
    assert change is not None
    for _ in range(400):
        change(torch.zeros(1, 8, 8, dtype=torch.uint8))
    assert set(drawn) == {"mask", "defocus"}
    assert 260 < drawn.count("mask") < 340


def test_a_network_that_effects_confuse_is_less_sure(
    checkpoint: Checkpoint, faces: list[LabelledFace]
) -> None:
    made = [
        calibrated(checkpoint, HeldOut(faces, checkpoint.spec.input, effects), CPU)[0]
        for effects in (InCar(), InCar(mask=0.1, night_noise=0.1))
    ]
    assert made[1].temperature > made[0].temperature
    assert made[1].facts["held_out"]["accuracy"] == made[0].facts["held_out"]["accuracy"]


@pytest.mark.parametrize(
    "facts", [{}, {"recipe": {}}, {"recipe": None}, {"recipe": {"augment": 1}}]
)
def test_a_card_without_effects_has_none(facts: dict[str, Any]) -> None:
    assert effects_of(facts) == InCar()


def test_a_card_states_its_effects() -> None:
    facts = {"recipe": {"augment": {"incar": {"mask": 0.2}}}}
    assert effects_of(facts) == InCar(mask=0.2)
    facts["recipe"]["augment"]["incar"] = {"snow": 0.2}
    with pytest.raises(RecipeError, match="snow"):
        effects_of(facts)
