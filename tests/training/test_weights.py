"""Weights that a backbone starts from: what is loaded is what is said, and nothing else is run."""

from __future__ import annotations

from pathlib import Path

import pytest
import safetensors.torch
import torch

from fer_edge.errors import CheckpointError
from fer_edge.training import torchvision_compat  # noqa: F401
from fer_edge.training.weights import load_weights, read_state

import timm  # isort: skip

NAME = "test_byobnet"


def network(channels: int = 3, seed: int = 0) -> torch.nn.Module:
    torch.manual_seed(seed)
    return timm.create_model(NAME, num_classes=0, in_chans=channels)


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """As timm publishes them: three colours, with the classifier of another task."""
    torch.manual_seed(7)
    state = timm.create_model(NAME, num_classes=10).state_dict()
    path = tmp_path / "imagenet.safetensors"
    safetensors.torch.save_file(state, path)
    return path


def test_every_tensor_is_loaded_and_the_classifier_left_over(weights: Path) -> None:
    net = network()
    account = load_weights(net, weights)
    saved, _ = read_state(weights)
    for name, value in net.state_dict().items():
        assert torch.equal(value, saved[name])
    assert len(account.loaded) == len(net.state_dict())
    assert not account.missing
    assert {name.rsplit(".", 1)[-1] for name in account.left_over} == {"weight", "bias"}
    assert "2 left over" in str(account)


def test_grey_network_answers_as_the_coloured_one_does_to_grey(weights: Path) -> None:
    colour, grey = network(3).eval(), network(1).eval()
    load_weights(colour, weights)
    load_weights(grey, weights)
    x = torch.rand(2, 1, 48, 48)
    torch.testing.assert_close(grey(x), colour(x.expand(2, 3, 48, 48)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("wrapper", ["state_dict", "model"])
def test_training_state_is_unwrapped(weights: Path, tmp_path: Path, wrapper: str) -> None:
    state, _ = read_state(weights)
    path = tmp_path / "training.pth"
    torch.save({wrapper: {f"module.{k}": v for k, v in state.items()}, "epoch": 3}, path)
    assert not load_weights(network(), path).missing


def test_whole_module_pickle_is_refused_with_the_reason(tmp_path: Path) -> None:
    path = tmp_path / "module.pth"
    torch.save(network(), path)
    with pytest.raises(CheckpointError, match="pickled module can run any code"):
        load_weights(network(), path)


def test_other_network_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    safetensors.torch.save_file({"layer.weight": torch.ones(3, 3)}, path)
    with pytest.raises(CheckpointError, match="made for another network"):
        load_weights(network(), path)


@pytest.mark.parametrize("content", [b"", b"\x00" * 64, b"not weights at all"])
def test_damaged_file_is_a_sentence(tmp_path: Path, content: bytes) -> None:
    for name in ("weights.safetensors", "weights.pth"):
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match=name):
            load_weights(network(), path)


def test_weights_that_are_not_finite_are_refused(weights: Path) -> None:
    state, _ = read_state(weights)
    name = next(n for n in state if n.endswith("conv.weight"))
    state[name].view(-1)[0] = float("nan")
    safetensors.torch.save_file(state, weights)
    with pytest.raises(CheckpointError, match="not finite"):
        load_weights(network(), weights)
