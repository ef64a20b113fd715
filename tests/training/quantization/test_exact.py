"""Exact scales: no order of the sums changes a number of the int8 network."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction

import pytest
import torch
from torch import Tensor, nn

from fer_edge.progress import silent
from fer_edge.training.checkpoint import Checkpoint
from fer_edge.training.models.network import Normalise
from fer_edge.training.models.quantized import QuantizedNet
from fer_edge.training.quantization.exact import ExactScales
from fer_edge.training.quantization.ranges import least_squares_exponent, measure_scales

NETWORKS = ("test_resnet", "test_byobnet", "mobilenetv2_035")


def trained(net: nn.Module, seed: int) -> None:
    """Give a random network weights and biases of every size, and channels without weights."""
    chance = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for layer in net.modules():
            if isinstance(layer, nn.BatchNorm2d):
                assert layer.running_mean is not None
                layer.running_mean.copy_(torch.randn(layer.num_features, generator=chance) / 4)
                layer.weight.copy_(torch.rand(layer.num_features, generator=chance) * 2 + 0.3)
                layer.bias.copy_(torch.randn(layer.num_features, generator=chance))
                layer.weight[0] = 0


@pytest.fixture(scope="module", params=NETWORKS)
def made(
    request: pytest.FixtureRequest, untrained: Callable[..., Checkpoint]
) -> tuple[QuantizedNet, Tensor]:
    """An int8 network with exact scales, and normalised faces of noise."""
    source = untrained("grey", request.param)
    trained(source.model, seed=3)
    size = source.spec.input.size_px
    pixels = torch.randint(0, 256, (24, 1, size, size), generator=torch.Generator().manual_seed(4))
    faces = Normalise(source.spec.input)(pixels.float())
    net = QuantizedNet(source.model)
    measure_scales(net, [faces[:16]], silent)
    exact = ExactScales(net)
    exact.set_weights()
    exact.set_biases()
    return net, faces


def test_activations_have_powers_of_two(made: tuple[QuantizedNet, Tensor]) -> None:
    net, _ = made
    for name, scale in net.activation_scales().items():
        assert math.log2(scale).is_integer(), name


def test_an_addition_and_its_terms_share_a_scale(made: tuple[QuantizedNet, Tensor]) -> None:
    net, _ = made
    scales = {f"scales.{i}": float(scale.detach()) for i, scale in enumerate(net.scales)}
    groups = [names for names in ExactScales(net).groups if len(names) > 1]
    assert all(len({scales[name] for name in names}) == 1 for names in groups)
    if net.spec.backbone != "test_byobnet":
        assert groups


def test_factors_and_biases_are_whole_numbers_of_steps(made: tuple[QuantizedNet, Tensor]) -> None:
    net, _ = made
    named = {name: value.detach() for name, value in net.body.named_parameters()}
    layers = ExactScales(net).layers
    assert len(layers) == len(net.weights())
    for layer in layers:
        read = float(named[layer.input])
        steps = [Fraction(read) * Fraction(float(s)) for s in named[layer.weight_scale]]
        if layer.output is not None:
            for step in steps:
                factor = step / Fraction(float(named[layer.output])) * 2**16
                assert factor.denominator == 1, layer
                assert not layer.added or factor % 2 == 1, layer
        assert layer.bias is not None
        for bias, step in zip(named[layer.bias], steps, strict=True):
            assert (Fraction(float(bias)) / step).denominator == 1, layer


def test_no_weight_is_clipped(made: tuple[QuantizedNet, Tensor]) -> None:
    net, _ = made
    for weight, scale in net.weights():
        assert bool((weight.detach().abs().flatten(1).amax(1) <= 127.001 * scale).all())


def test_the_order_of_sums_changes_nothing(made: tuple[QuantizedNet, Tensor]) -> None:
    """With other kernels, memory formats and batch sizes, embeddings are equal to the last bit."""
    net, faces = made
    with torch.no_grad():
        _, expected = net(faces)
        _, one_by_one = zip(*(net(face[None]) for face in faces), strict=True)
        _, channels_last = net(faces.contiguous(memory_format=torch.channels_last))
        # NNPACK transforms its input (Winograd), which rounds; no int8 kernel does.
        with torch.backends.mkldnn.flags(enabled=False), torch.backends.nnpack.flags(enabled=False):
            _, without_onednn = net(faces)
    assert len(expected.unique(dim=0)) > 1  # the faces are told apart
    assert torch.equal(torch.cat(one_by_one), expected)
    assert torch.equal(channels_last, expected)
    assert torch.equal(without_onednn, expected)


@pytest.mark.parametrize(("outliers", "exponent"), [(0, -6), (1, -6), (200_000, -5)])
def test_a_range_leaves_few_outliers_out(outliers: int, exponent: int) -> None:
    torch.manual_seed(0)
    values = torch.cat([torch.rand(200_000) * 3.9 - 1.95, torch.full((outliers,), 3.0)])
    assert least_squares_exponent([values]) == exponent


def test_activations_of_one_scale_choose_together() -> None:
    torch.manual_seed(0)
    small, large = torch.rand(1000) * 0.9, torch.rand(1000) * 7
    assert least_squares_exponent([small]) < least_squares_exponent([large])
    assert least_squares_exponent([small, large]) == least_squares_exponent([large])


def test_an_activation_that_is_always_zero_has_a_scale() -> None:
    assert least_squares_exponent([torch.zeros(10)]) > -40
