"""The deployed graph is exactly the sum of its parts, done by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fer_edge.preprocess import CropRule, to_batch
from fer_edge.shipped import FACES
from fer_edge.training.checkpoint import Checkpoint
from fer_edge.training.data.faces import load_faces
from fer_edge.training.deploy import DeployModule
from fer_edge.training.loop.dataset import FaceDataset
from fer_edge.training.models.network import Normalise


@pytest.fixture(scope="module")
def faces() -> torch.Tensor:
    """Eight colourful pictures, uint8 BGR: with grey ones a swapped channel would not show."""
    return torch.from_numpy(np.random.default_rng(3).integers(0, 256, (8, 48, 48, 3), np.uint8))


def by_hand(checkpoint: Checkpoint, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    spec = checkpoint.spec.input
    blue, green, red = images.double().unbind(3)
    if spec.colour == "grey":
        planes = [0.114 * blue + 0.587 * green + 0.299 * red]
    else:
        planes = [red, green, blue]
    channels = [(x / 255 - m) / s for x, m, s in zip(planes, spec.mean, spec.std, strict=True)]
    logits, embedding = checkpoint.model(torch.stack(channels, 1).float())
    exp = (logits.double() / checkpoint.temperature).exp()
    return exp / exp.sum(1, keepdim=True), embedding


@pytest.mark.parametrize("temperature", [1.0, 0.4, 2.5])
@pytest.mark.parametrize("colour", ["grey", "rgb"])
def test_it_is_colour_normalisation_network_and_softmax(
    untrained: Any, faces: torch.Tensor, colour: str, temperature: float
) -> None:
    checkpoint = untrained(colour, temperature=temperature)
    with torch.inference_mode():
        probabilities, embedding = DeployModule(checkpoint)(faces)
        wanted, wanted_embedding = by_hand(checkpoint, faces)
    assert (probabilities.dtype, embedding.dtype) == (torch.float32, torch.float32)
    assert probabilities.shape == (8, 7)
    assert embedding.shape == (8, checkpoint.model.embedding_dim)
    torch.testing.assert_close(probabilities.double(), wanted, rtol=0, atol=1e-5)
    torch.testing.assert_close(embedding, wanted_embedding, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("colour", ["grey", "rgb"])
def test_the_order_of_channels_matters(untrained: Any, faces: torch.Tensor, colour: str) -> None:
    module = DeployModule(untrained(colour))
    with torch.inference_mode():
        assert not torch.allclose(module(faces)[1], module(faces.flip(3))[1], atol=1e-3)


def test_the_temperature_softens_answers_and_changes_none(
    untrained: Any, faces: torch.Tensor
) -> None:
    with torch.inference_mode():
        sharp, embedding = DeployModule(untrained(temperature=0.1))(faces)
        soft, same = DeployModule(untrained(temperature=4.0))(faces)
    assert torch.equal(sharp.argmax(1), soft.argmax(1))
    assert torch.equal(embedding, same)
    assert (soft.max(1).values < sharp.max(1).values).all()


@settings(max_examples=10)
@given(st.permutations(range(8)))
def test_a_face_is_answered_alike_in_any_company(
    untrained: Any, faces: torch.Tensor, order: list[int]
) -> None:
    module = DeployModule(untrained())
    with torch.inference_mode():
        whole, _ = module(faces)
        turned, _ = module(faces[order])
        alone, _ = module(faces[order[:1]])
    torch.testing.assert_close(turned, whole[order], rtol=0, atol=1e-5)
    torch.testing.assert_close(alone[0], whole[order[0]], rtol=0, atol=1e-5)


@pytest.mark.parametrize("colour", ["grey", "rgb"])
def test_what_was_trained_on_is_what_is_deployed_on(untrained: Any, colour: str) -> None:
    """The same faces, through the training pipeline and through the deployed one."""
    checkpoint = untrained(colour)
    some = load_faces(FACES, "val")[::48]
    seen = FaceDataset(some, torch.zeros(len(some), 7), checkpoint.spec.input, None)
    trained_on = torch.stack([seen[i][0] for i in range(len(some))])
    batch = to_batch([face.read() for face in some], CropRule(48))
    with torch.inference_mode():
        logits, _ = checkpoint.model(Normalise(checkpoint.spec.input)(trained_on.float()))
        probabilities, _ = DeployModule(checkpoint)(torch.from_numpy(batch))
    torch.testing.assert_close(probabilities, logits.softmax(1), rtol=0, atol=1e-5)
