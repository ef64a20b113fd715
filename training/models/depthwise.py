"""Strided depthwise convolutions with a fast backward pass on CPUs.

oneDNN (torch 2.13) is slow in the backward pass of a depthwise convolution with stride 2. It takes
seven times as long as with stride 1 and four times the outputs (144 channels of 22 px, Zen 5). In
MobileNetV2, four of 52 layers take a third of a training step. This module computes the gradient
with stride 1 instead, from an output gradient that is zero at the skipped positions: the sums are
the same. ``python -m fer_edge.benchmarks.studies.training_step`` measures both.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

Pair = tuple[int, int]


class _Convolve(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: Pair, padding: Pair) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride, ctx.padding = stride, padding
        return torch.conv2d(x, weight, None, stride, padding, 1, len(weight))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        (gradient,) = gradients
        x, weight = ctx.saved_tensors
        sides = [
            size + 2 * pad - kernel + 1
            for size, pad, kernel in zip(x.shape[2:], ctx.padding, weight.shape[2:], strict=True)
        ]
        spread = torch.empty(
            *gradient.shape[:2],
            *sides,
            dtype=gradient.dtype,
            memory_format=torch.channels_last,
        ).zero_()
        spread[:, :, :: ctx.stride[0], :: ctx.stride[1]] = gradient
        for_x, for_weight, _ = torch.ops.aten.convolution_backward(
            spread,
            x,
            weight,
            None,
            [1, 1],
            ctx.padding,
            [1, 1],
            False,
            [0, 0],
            len(weight),
            [ctx.needs_input_grad[0], ctx.needs_input_grad[1], False],
        )
        return for_x, for_weight, None, None


def strided_depthwise(
    x: Tensor, weight: Tensor, bias: Tensor | None, stride: Pair, padding: Pair, groups: int
) -> Tensor:
    """Convolve as conv2d does, with the fast backward pass where the layer is depthwise."""
    if torch.is_autocast_enabled(x.device.type):  # autocast does not reach into a Function
        kind = torch.get_autocast_dtype(x.device.type)
        x, weight = x.to(kind), weight.to(kind)
        bias = None if bias is None else bias.to(kind)
    if groups != len(weight):
        return torch.conv2d(x, weight, bias, stride, padding, 1, groups)
    apply: Callable[..., Tensor] = _Convolve.apply
    out = apply(x, weight, tuple(stride), tuple(padding))
    return out if bias is None else out + bias.view(1, -1, 1, 1)


class StridedDepthwise(nn.Conv2d):
    """``nn.Conv2d`` for training on a CPU; not for export."""

    def forward(self, x: Tensor) -> Tensor:
        stride, padding = self.stride, self.padding
        return strided_depthwise(x, self.weight, None, stride, padding, self.groups)  # type: ignore[arg-type]


def quicken(net: nn.Module) -> int:
    """Replace strided depthwise convolutions in place; return their number.

    Weights and names stay the same.
    """
    layers = [
        layer
        for layer in net.modules()
        if type(layer) is nn.Conv2d
        and layer.groups == layer.in_channels == layer.out_channels > 1
        and layer.stride != (1, 1)
        and layer.dilation == (1, 1)
        and layer.bias is None
        and layer.padding_mode == "zeros"
        and isinstance(layer.padding, tuple)
    ]
    for layer in layers:
        layer.__class__ = StridedDepthwise
    return len(layers)
