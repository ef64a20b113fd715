"""Weights that a backbone starts from: what is loaded is what is said, and nothing else is run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
import yaml
from click.testing import CliRunner

from fer_edge.cli import main
from fer_edge.errors import CheckpointError, RecipeError, TrainingError
from fer_edge.training.checkpoint import load_checkpoint
from fer_edge.training.config.recipe import load_recipe
from fer_edge.training.models import torchvision_compat  # noqa: F401
from fer_edge.training.models.from_recipe import build_network
from fer_edge.training.models.pretrained import load_weights
from fer_edge.training.models.weights_file import read_weights

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
    saved = read_weights(weights).tensors
    for name, value in net.state_dict().items():
        assert torch.equal(value, saved[name])
    assert len(account.loaded) == len(net.state_dict())
    assert not account.missing
    assert {name.rsplit(".", 1)[-1] for name in account.left_over} == {"weight", "bias"}
    assert "2 unused" in str(account)


def test_names_in_a_file_are_printed_short_and_escaped(weights: Path, tmp_path: Path) -> None:
    odd = "\x1b[2J\nall is well"
    state = {f"{odd}.{name}": value for name, value in read_weights(weights).tensors.items()}
    for key in (odd, "k" * 100_000):
        torch.save({key: {**state, key: torch.ones(1)}}, tmp_path / "theirs.pth")
        text = str(load_weights(network(), tmp_path / "theirs.pth"))
        assert text.isprintable()
        assert len(text) < 1000
        assert "all is well" in text


def test_grey_network_answers_as_the_coloured_one_does_to_grey(weights: Path) -> None:
    colour, grey = network(3).eval(), network(1).eval()
    load_weights(colour, weights)
    load_weights(grey, weights)
    x = torch.rand(2, 1, 48, 48)
    torch.testing.assert_close(grey(x), colour(x.expand(2, 3, 48, 48)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "made_for", "wanted"),
    [
        ("test_vit", {"img_size": 160}, {"img_size": 48}),
        (
            "swin_tiny_patch4_window7_224",
            {"img_size": 112, "depths": (1, 1), "num_heads": (1, 2), "embed_dim": 8},
            {
                "img_size": 64,
                "depths": (1, 1),
                "num_heads": (1, 2),
                "embed_dim": 8,
                "window_size": 4,
            },
        ),
    ],
)
def test_positions_for_another_picture_size_are_resampled(
    tmp_path: Path, name: str, made_for: dict[str, Any], wanted: dict[str, Any]
) -> None:
    torch.manual_seed(0)
    source = timm.create_model(name, num_classes=0, **made_for)
    parts = ("pos_embed", "relative_position_bias_table")
    positions = [n for n, _ in source.named_parameters() if n.endswith(parts)]
    for position in positions:  # what is the same everywhere stays so
        torch.nn.init.constant_(source.get_parameter(position), 0.7)
    path = tmp_path / "larger.safetensors"
    safetensors.torch.save_file(source.state_dict(), path)
    net = timm.create_model(name, num_classes=0, **wanted)
    account = load_weights(net, path)
    assert account.resampled
    assert not account.reshaped
    assert not account.missing
    assert "of them resampled" in str(account)
    for position in positions:
        ours = net.get_parameter(position)
        assert ours.shape != source.get_parameter(position).shape
        torch.testing.assert_close(ours, torch.full_like(ours, 0.7), rtol=0, atol=1e-3)


def test_weights_that_cannot_be_fetched_are_a_sentence_with_a_way_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    recipe = load_recipe("edge-default", ("model.pretrained=true",))
    with pytest.raises(TrainingError, match=r"weights of mobilenetv2_100.*--weights FILE"):
        build_network(recipe, lambda _: None)


def test_a_network_without_published_weights_is_a_recipe_error() -> None:
    recipe = load_recipe("edge-teacher", ("model.pretrained=true",))
    with pytest.raises(RecipeError, match=r"publishes no weights for fer_resnet.*--weights FILE"):
        build_network(recipe, lambda _: None)


@pytest.mark.parametrize("wrapper", ["state_dict", "model"])
def test_training_state_is_unwrapped(weights: Path, tmp_path: Path, wrapper: str) -> None:
    state = read_weights(weights).tensors
    path = tmp_path / "training.pth"
    torch.save({wrapper: {f"module.{k}": v for k, v in state.items()}, "epoch": 3}, path)
    assert not load_weights(network(), path).missing


def test_whole_module_pickle_is_refused_with_the_reason(tmp_path: Path) -> None:
    path = tmp_path / "module.pth"
    torch.save(network(), path)
    with pytest.raises(CheckpointError, match="pickled module can run any code"):
        load_weights(network(), path)


@pytest.mark.parametrize(
    ("backbone", "name", "shape"),
    [
        (NAME, "stem.conv.weight", (4,)),
        (NAME, "stem.conv.weight", (24, 4, 3, 3)),
        ("test_vit", "pos_embed", (64,)),
        ("test_vit", "pos_embed", (1, 1, 64)),
        ("test_vit", "pos_embed", (3, 50, 64)),
        ("swin_tiny_patch4_window7_224", "layers.0.blocks.0.attn.relative_position_bias_table", ()),
    ],
)
def test_a_tensor_that_cannot_be_adapted_is_a_sentence(
    tmp_path: Path, backbone: str, name: str, shape: tuple[int, ...]
) -> None:
    net = timm.create_model(backbone, num_classes=0, in_chans=1)
    state = {**net.state_dict(), name: torch.zeros(shape)}
    torch.save(state, tmp_path / "theirs.pth")
    with pytest.raises(CheckpointError, match=r"is for another network: .*Check model\.backbone"):
        load_weights(net, tmp_path / "theirs.pth")


def test_values_of_eight_bits_are_loaded(weights: Path) -> None:
    state = read_weights(weights).tensors
    name = "stem.conv.weight"
    state[name] = state[name].to(torch.float8_e4m3fn)
    safetensors.torch.save_file(state, weights)
    net = network()
    load_weights(net, weights)
    assert torch.equal(net.state_dict()[name], state[name].float())


def test_other_network_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    safetensors.torch.save_file({"layer.weight": torch.ones(3, 3)}, path)
    with pytest.raises(CheckpointError, match="for another network"):
        load_weights(network(), path)


@pytest.mark.parametrize("content", [b"", b"\x00" * 64, b"not weights at all"])
def test_damaged_file_is_a_sentence(tmp_path: Path, content: bytes) -> None:
    for name in ("weights.safetensors", "weights.pth"):
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match=name):
            load_weights(network(), path)


def test_weights_that_are_not_finite_are_refused(weights: Path) -> None:
    state = read_weights(weights).tensors
    name = next(n for n in state if n.endswith("conv.weight"))
    state[name].view(-1)[0] = float("nan")
    safetensors.torch.save_file(state, weights)
    with pytest.raises(CheckpointError, match="not finite"):
        load_weights(network(), weights)


def test_a_file_on_the_command_line_takes_the_place_of_published_weights(
    weights: Path, few_faces: Path, tmp_path: Path
) -> None:
    content = {
        "name": "tiny",
        "seed": 1,
        "model": {"backbone": NAME, "pretrained": True},
        "input": {"size_px": 48, "colour": "grey", "mean": [0.5], "std": [0.25]},
        "data": {"holdout": 0.1},
        "augment": {},
        "fit": {"epochs": 1, "batch": 32, "lr": 0.01, "workers": 0},
    }
    recipe = tmp_path / "tiny.yaml"
    recipe.write_text(yaml.safe_dump(content), "utf-8")
    command = ["train", str(recipe), "--data", str(few_faces), "-o", str(tmp_path / "run")]
    done = CliRunner().invoke(main, [*command, "--weights", str(weights)])
    assert done.exit_code == 0, done.output
    facts = load_checkpoint(tmp_path / "run" / "best").facts
    assert facts["weights_from"]["file"] == weights.name
    assert facts["recipe"]["model"]["pretrained"] is False
