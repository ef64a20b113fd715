"""Reconstruction: layers fitted to the float network's, on the same grid."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from fer_edge.progress import silent
from fer_edge.training.checkpoint import Checkpoint
from fer_edge.training.models.network import Normalise
from fer_edge.training.models.quantized import QuantizedNet
from fer_edge.training.quantization.exact import ExactScales
from fer_edge.training.quantization.ranges import measure_scales
from fer_edge.training.quantization.reconstruct import reconstruct, round_with_feedback

NETWORKS = ("test_resnet", "test_efficientnet", "test_vit")


def _faces(checkpoint: Checkpoint, seed: int) -> Tensor:
    """Return smooth random pictures, whose neighbouring pixels go together as a face's do."""
    size = checkpoint.spec.input.size_px
    chance = torch.Generator().manual_seed(seed)
    coarse = torch.rand(32, 1, 6, 6, generator=chance) * 255
    pixels = nn.functional.interpolate(coarse, (size, size), mode="bilinear")
    return Normalise(checkpoint.spec.input)(pixels + torch.randn(pixels.shape, generator=chance))


@pytest.fixture(scope="module", params=NETWORKS)
def nets(
    request: pytest.FixtureRequest, untrained: Callable[..., Checkpoint]
) -> tuple[Checkpoint, QuantizedNet, QuantizedNet]:
    """A float network, its int8 network of ranges alone, and the reconstructed one."""
    source = untrained("grey", request.param)
    with torch.no_grad():
        for layer in source.model.modules():  # as after training
            if isinstance(layer, nn.BatchNorm2d):
                layer.momentum = None
                layer.train()
        source.model(_faces(source, 1))
        source.model.eval()
    rounded = QuantizedNet(source.model)
    measure_scales(rounded, [_faces(source, 1)], silent)
    exact = ExactScales(rounded)
    exact.set_weights()
    fitted = copy.deepcopy(rounded)
    exact.set_biases()
    reconstruct(fitted, _faces(source, 1))
    return source, rounded, fitted


def test_answers_come_nearer_to_the_float_network(
    nets: tuple[Checkpoint, QuantizedNet, QuantizedNet],
) -> None:
    source, rounded, fitted = nets
    others = _faces(source, 2)
    with torch.no_grad():
        expected = source.model(others)[1]
        before, after = ((net(others)[1] - expected).norm() for net in (rounded, fitted))
    assert after < before


def test_weights_and_biases_are_whole_steps_and_scales_stay(
    nets: tuple[Checkpoint, QuantizedNet, QuantizedNet],
) -> None:
    _, rounded, fitted = nets
    assert fitted.activation_scales() == rounded.activation_scales()
    body, moved = fitted.body, 0
    for layer in ExactScales(fitted).layers:
        weight, scale = body.get_parameter(layer.weight), body.get_parameter(layer.weight_scale)
        assert torch.equal(scale, rounded.body.get_parameter(layer.weight_scale))
        steps = weight.flatten(1) / scale[:, None]
        assert torch.equal(steps, steps.round())
        assert steps.abs().max() <= 127
        nearest = (rounded.body.get_parameter(layer.weight).flatten(1) / scale[:, None]).round()
        moved += int((steps != nearest).sum())
        if layer.bias is not None:
            sums = body.get_parameter(layer.bias) / (body.get_parameter(layer.input) * scale)
            assert torch.equal(sums, sums.round())
    assert moved


def test_it_is_the_same_each_time(
    nets: tuple[Checkpoint, QuantizedNet, QuantizedNet],
) -> None:
    source, rounded, _ = nets
    both = [copy.deepcopy(rounded) for _ in range(2)]
    for net in both:
        reconstruct(net, _faces(source, 1)[:8])
    first, second = (net.state_dict() for net in both)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_correlated_inputs_are_rounded_together() -> None:
    # Two inputs that are equal: 0.4 and 0.4 make a sum of 0.8, nearer to 1 + 0 than to 0 + 0.
    equal = torch.full((1, 2, 2), 100.0)
    found = round_with_feedback(torch.tensor([[[0.4, 0.4]]]), torch.ones(1, 1), equal)
    assert float(found.sum()) == 1
    apart = 100 * torch.eye(2)[None]
    found = round_with_feedback(torch.tensor([[[0.4, 0.4]]]), torch.ones(1, 1), apart)
    assert float(found.sum()) == 0


def test_inputs_that_are_always_zero_change_nothing() -> None:
    weight = torch.tensor([[[0.4, -300.0, 2.6]]])
    found = round_with_feedback(weight, torch.ones(1, 1), torch.zeros(1, 3, 3))
    assert found.tolist() == [[[0, -127, 3]]]
