"""Rounding to int8: numbers, gradients, export."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from fer_edge.training.models.quantize_operation import (
    OPERATION,
    PER_TENSOR,
    least,
    quantize_dequantize,
)


@given(
    st.lists(st.floats(-1e3, 1e3, width=32), min_size=1, max_size=20),
    st.floats(2.0**-10, 10.0, width=32),
)
def test_each_number_becomes_the_nearest_of_256_steps(values: list[float], scale: float) -> None:
    x = torch.tensor(values)
    out = quantize_dequantize(x, torch.tensor(scale))
    steps = out / torch.tensor(scale)
    assert torch.allclose(steps, steps.round(), atol=1e-3)
    assert steps.round().min() >= -128
    assert steps.round().max() <= 127
    inside = (x / scale).abs() < 126
    assert ((out - x).abs()[inside] <= scale * 0.5001).all()


def test_halves_go_to_the_even_step() -> None:
    out = quantize_dequantize(torch.tensor([0.5, 1.5, 2.5, -0.5, -1.5]), torch.tensor(1.0))
    assert out.tolist() == [0.0, 2.0, 2.0, 0.0, -2.0]


@pytest.mark.parametrize("scale", [1.0, 2.0**-6, 6 / 255, 0.037])
def test_it_rounds_as_torchs_fake_quantize_does(scale: float) -> None:
    ends = torch.arange(-300, 301).float()
    ties = (ends + 0.5) * scale
    beside = [torch.nextafter(ties, torch.tensor(to)) for to in (-1e9, 1e9)]
    x = torch.cat([ends * scale, ties, *beside, torch.tensor([0.0, -0.0, 1e30, -1e30])])
    zero = torch.zeros((), dtype=torch.int32)
    expected = torch.fake_quantize_per_tensor_affine(x, torch.tensor(scale), zero, -128, 127)
    assert torch.equal(quantize_dequantize(x, torch.tensor(scale)), expected)


def test_weights_have_a_scale_for_each_channel_and_are_symmetric() -> None:
    weight = torch.tensor([[-300.0, 1.4], [-3.0, 0.14]])
    out = quantize_dequantize(weight, torch.tensor([1.0, 0.1]), 0)
    assert torch.allclose(out, torch.tensor([[-127.0, 1.0], [-3.0, 0.1]]))
    assert (least(0), least(PER_TENSOR)) == (-127, -128)


@pytest.mark.parametrize("axis", [PER_TENSOR, 0, 1])
def test_gradients_pass_inside_the_range_and_move_the_scale(axis: int) -> None:
    x = torch.tensor([[0.3, -5.0, 900.0], [0.7, 0.0, 1.0]], requires_grad=True)
    sizes = {PER_TENSOR: (), 0: (2,), 1: (3,)}
    scale = torch.ones(sizes[axis], requires_grad=True)
    quantize_dequantize(x, scale, axis).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [[1, 1, 0], [1, 1, 1]]
    assert scale.grad is not None
    assert scale.grad.shape == scale.shape
    # 0.3 -> 0, 0.7 -> 1, and 900 is clamped to 127 steps.
    assert float(scale.grad.sum()) == pytest.approx(-0.3 + 0.3 + 127)


def test_it_computes_in_float32_under_autocast() -> None:
    x = torch.randn(4, 3)
    with torch.autocast("cpu", torch.bfloat16):
        out = quantize_dequantize(x.bfloat16(), torch.tensor(0.1))
    assert out.dtype == torch.float32
    assert torch.equal(out, quantize_dequantize(x.bfloat16().float(), torch.tensor(0.1)))


class _Net(nn.Module):
    scale: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("scale", torch.tensor(0.1))

    def forward(self, x: Tensor) -> Tensor:
        return quantize_dequantize(x, self.scale) * 2


def test_an_exported_graph_holds_it_with_a_dynamic_batch() -> None:
    batch = torch.export.Dim("batch", min=1)
    program = torch.export.export(
        _Net(), (torch.randn(2, 3),), dynamic_shapes={"x": {0: batch}}
    ).run_decompositions({})
    assert OPERATION in [node.target for node in program.graph.nodes]
    x = torch.randn(5, 3)
    assert torch.equal(program.module()(x), _Net()(x))
