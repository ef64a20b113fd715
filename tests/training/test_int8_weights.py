"""int8 weights of a checkpoint: written, read, refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from fer_edge.errors import CheckpointError
from fer_edge.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from fer_edge.training.int8_weights import Int8Weights, rounded_weight
from fer_edge.training.models.network import ExpressionNet
from fer_edge.training.models.quantized import QuantizedNet


@pytest.fixture(scope="module")
def quantised(untrained: Callable[..., Checkpoint]) -> tuple[Checkpoint, QuantizedNet]:
    """A float checkpoint with int8 weights, and the network that they were made of."""
    source = untrained("grey", "test_resnet")
    assert isinstance(source.model, ExpressionNet)
    net = QuantizedNet(source.model)
    with torch.no_grad():
        for number, scale in enumerate(net.scales):
            scale.fill_(0.01 + 0.001 * number)
    return Checkpoint(source.model, 1.5, 0.4, int8=Int8Weights.of(net, {"minutes": 1})), net


@pytest.fixture
def folder(quantised: tuple[Checkpoint, QuantizedNet], tmp_path: Path) -> Path:
    save_checkpoint(quantised[0], tmp_path / "c8")
    return tmp_path / "c8"


def test_the_network_that_is_read_computes_the_same(
    quantised: tuple[Checkpoint, QuantizedNet], folder: Path
) -> None:
    loaded = load_checkpoint(folder)
    assert loaded.int8 is not None
    assert loaded.int8.facts == {"minutes": 1}
    int8 = loaded.quantised()
    assert (int8.temperature, int8.abstain_below, int8.spec) == (1.5, 0.4, loaded.spec)
    x = torch.randn(3, 1, 48, 48)
    with torch.inference_mode():
        torch.testing.assert_close(int8.model(x)[0], quantised[1](x)[0], rtol=1e-4, atol=1e-5)
        assert not torch.equal(int8.model(x)[0], loaded.model(x)[0])


def test_another_scale_in_the_card_is_another_int8_network(folder: Path) -> None:
    before = load_checkpoint(folder)
    card = json.loads((folder / "card.json").read_text("utf-8"))
    scales = card["int8"]["activations"]
    scales[min(scales)] *= 2
    (folder / "card.json").write_text(json.dumps(card), "utf-8")
    after = load_checkpoint(folder)
    assert before.int8 is not None
    assert after.int8 is not None
    assert after.int8.data() == before.int8.data()
    assert after.int8.sha256 != before.int8.sha256
    assert after.quantised().network_sha256 != before.quantised().network_sha256


def test_weights_that_could_not_be_read_back_do_not_replace_a_checkpoint(
    quantised: tuple[Checkpoint, QuantizedNet], folder: Path
) -> None:
    int8 = quantised[0].int8
    assert int8 is not None
    large = replace(int8, activations=dict.fromkeys(int8.activations, 2.0**60))
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(CheckpointError, match="expected a positive scale"):
        save_checkpoint(replace(quantised[0], int8=large), folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_weights_are_stored_as_int8(folder: Path) -> None:
    tensors = safetensors.torch.load_file(folder / "int8.safetensors")
    weights = [t for name, t in tensors.items() if name.endswith("weight")]
    assert weights
    assert {t.dtype for t in weights} == {torch.int8}


def test_a_weight_is_rounded_bit_by_bit_as_torch_rounds_it() -> None:
    generator = torch.Generator().manual_seed(1)
    scale = torch.rand(64, generator=generator) * 0.02 + 1e-6
    halves = torch.arange(-140, 140).add(0.5)  # in steps; those beyond 127 are clamped
    others = torch.randn(64, 10_000, generator=generator) * 60
    weight = torch.cat([halves.expand(64, -1), others], 1) * scale[:, None]
    steps = (weight * (1 / scale)[:, None]).round().clamp(-127, 127).to(torch.int8)
    assert torch.equal(torch.from_numpy(rounded_weight(weight.numpy(), scale.numpy(), 0)), steps)
    turned = rounded_weight(weight.T.numpy(), scale.numpy(), 1)
    assert torch.equal(torch.from_numpy(turned).T, steps)
    alone = rounded_weight(weight[3].numpy(), scale[3].numpy(), None)
    assert torch.equal(torch.from_numpy(alone), steps[3])


def test_a_float_checkpoint_says_how_to_get_int8(untrained: Callable[..., Checkpoint]) -> None:
    with pytest.raises(CheckpointError, match="fer-edge quantize"):
        untrained().quantised()


def _first_scale(value: Any) -> Callable[[dict[str, Any]], None]:
    def change(card: dict[str, Any]) -> None:
        name = next(iter(card["int8"]["activations"]))
        card["int8"]["activations"][name] = value

    return change


CARDS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "scale 0": _first_scale(0),
    "scale -1": _first_scale(-1.0),
    "scale 1e300": _first_scale(1e300),
    "scale true": _first_scale(True),
    "scale text": _first_scale("0.1"),
    "scale null": _first_scale(None),
    "no scales": lambda card: card["int8"].update(activations={}),
    "scales are a list": lambda card: card["int8"].update(activations=[1.0]),
    "no section": lambda card: card.update(int8=None),
    "section is a list": lambda card: card.update(int8=[]),
    "another hash": lambda card: card["int8"].update(sha256="0" * 64),
}


@pytest.mark.parametrize("change", CARDS.values(), ids=CARDS)
def test_a_damaged_card_is_a_sentence(folder: Path, change: Callable[[Any], Any]) -> None:
    card = json.loads((folder / "card.json").read_text("utf-8"))
    change(card)
    (folder / "card.json").write_text(json.dumps(card), "utf-8")
    with pytest.raises(CheckpointError, match=r"c8"):
        load_checkpoint(folder)


def test_a_missing_or_changed_file_is_a_sentence(folder: Path) -> None:
    data = (folder / "int8.safetensors").read_bytes()
    (folder / "int8.safetensors").write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(CheckpointError, match="SHA-256"):
        load_checkpoint(folder)
    (folder / "int8.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"int8\.safetensors"):
        load_checkpoint(folder)


def _rewritten(
    quantised: Checkpoint, change: Callable[[dict[str, torch.Tensor], dict[str, float]], Any]
) -> Int8Weights:
    assert quantised.int8 is not None
    tensors, scales = dict(quantised.int8.tensors), dict(quantised.int8.activations)
    change(tensors, scales)
    return Int8Weights(scales, tensors)


WEIGHT = "head.1.weight"
CHANGES: dict[str, Callable[[Any, Any], Any]] = {
    "a weight is float": lambda t, s: t.update({WEIGHT: t[WEIGHT].float()}),
    "a weight is missing": lambda t, s: t.pop(WEIGHT),
    "a weight has another shape": lambda t, s: t.update({WEIGHT: t[WEIGHT][:, :-1]}),
    "a tensor too many": lambda t, s: t.update(more=torch.zeros(3)),
    "a channel's scale is 0": lambda t, s: t["weight_scales.0"].zero_(),
    "a channel's scale is not finite": lambda t, s: t["weight_scales.0"].fill_(float("nan")),
    "an activation is missing": lambda t, s: s.pop("input"),
    "an activation too many": lambda t, s: s.update(more=1.0),
    "the order of activations": lambda t, s: s.update(input=s.pop("input")),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_weights_that_do_not_fit_are_a_sentence(
    quantised: tuple[Checkpoint, QuantizedNet], change: Callable[[Any, Any], Any]
) -> None:
    source = quantised[0]
    assert isinstance(source.model, ExpressionNet)
    copies = {name: tensor.clone() for name, tensor in source.int8.tensors.items()}  # type: ignore[union-attr]
    own = Checkpoint(source.model, int8=Int8Weights(source.int8.activations, copies))  # type: ignore[union-attr]
    with pytest.raises(CheckpointError):
        _rewritten(own, change).network(source.model)
