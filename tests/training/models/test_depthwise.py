"""The quick backward pass gives the gradients of the plain one, in training, average and all."""

from __future__ import annotations

import copy
from itertools import product

import pytest
import torch
from torch import Tensor, nn

from fer_edge.training.models.depthwise import StridedDepthwise, quicken
from fer_edge.training.models.network import ExpressionNet, InputSpec, ModelSpec

LAYERS = list(product((3, 5), (2, 3), (44, 11, 7), (0, 1, 2)))


def gradients(net: nn.Module, x: Tensor, autocast: bool = False) -> list[Tensor]:
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        y = net(x)
        y = y[0] if isinstance(y, tuple) else y
    parameters = [p for p in net.parameters() if p.requires_grad]
    weights = torch.linspace(-1, 1, y.numel()).view(y.shape)
    return [y.detach().float(), *torch.autograd.grad((y.float() * weights).sum(), parameters)]


@pytest.mark.parametrize(("kernel", "stride", "px", "pad"), LAYERS)
def test_gradients_of_a_layer(kernel: int, stride: int, px: int, pad: int) -> None:
    torch.manual_seed(0)
    plain = nn.Conv2d(12, 12, kernel, stride, pad, groups=12, bias=False).double()
    quick = copy.deepcopy(plain)
    assert quicken(nn.Sequential(quick)) == 1
    assert isinstance(quick, StridedDepthwise)
    before = nn.Conv2d(3, 12, 1).double()  # so that the layer's input wants a gradient too
    x = torch.randn(2, 3, px, px, dtype=torch.double)
    for a, b in zip(
        gradients(nn.Sequential(before, plain), x),
        gradients(nn.Sequential(before, quick), x),
        strict=True,
    ):
        torch.testing.assert_close(a, b)


def network() -> ExpressionNet:
    torch.manual_seed(0)
    spec = ModelSpec(
        "mobilenetv2_050", ("anger", "happiness"), InputSpec(48, "grey", (0.5,), (0.5,))
    )
    return ExpressionNet(spec).to(memory_format=torch.channels_last).train()


@pytest.mark.parametrize("autocast", [False, True])
def test_gradients_of_a_network(autocast: bool) -> None:
    plain, quick = network(), network()
    assert quicken(quick) == 4
    x = torch.randn(8, 1, 48, 48)
    expected, got = gradients(plain, x, autocast), gradients(quick, x, autocast)
    atol = max(float(g.abs().max()) for g in expected) * (0.02 if autocast else 1e-5)
    for a, b in zip(expected, got, strict=True):
        torch.testing.assert_close(a, b, rtol=0.0, atol=atol)


def test_weights_keep_their_names_and_a_copy_has_its_own() -> None:
    plain, quick = network(), network()
    quicken(quick)
    assert list(plain.state_dict()) == list(quick.state_dict())
    average = copy.deepcopy(quick).eval()
    x = torch.randn(2, 1, 48, 48)
    before = average(x)[0]
    with torch.no_grad():
        for p in quick.parameters():
            p.zero_()
    torch.testing.assert_close(average(x)[0], before, rtol=0, atol=0)


def test_a_frozen_layer_passes_the_gradient_on() -> None:
    layer = nn.Conv2d(8, 8, 3, 2, 1, groups=8, bias=False).requires_grad_(False)
    quicken(nn.Sequential(layer))
    x = torch.randn(1, 8, 9, 9, requires_grad=True)
    layer(x).sum().backward()
    assert layer.weight.grad is None
    assert x.grad is not None
    assert x.grad.abs().sum() > 0


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(8, 8, 3, 1, 1, groups=8, bias=False),
        nn.Conv2d(8, 16, 3, 2, 1, groups=8, bias=False),
        nn.Conv2d(8, 8, 3, 2, 1, groups=2, bias=False),
        nn.Conv2d(8, 8, 3, 2, 1, groups=8),
        nn.Conv2d(8, 8, 3, 2, 2, dilation=2, groups=8, bias=False),
        nn.Conv2d(8, 8, 3, 2, 1, groups=8, bias=False, padding_mode="reflect"),
    ],
)
def test_other_layers_are_left_alone(layer: nn.Conv2d) -> None:
    assert quicken(nn.Sequential(layer)) == 0
    assert type(layer) is nn.Conv2d
