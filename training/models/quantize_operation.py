"""Rounding to int8 as one torch operation, which the converters translate.

``fer_edge::quantize_dequantize`` is an operation of its own because torch's ONNX exporter cannot
write torch's FakeQuantize (pytorch#167063). A graph that holds it says which tensors are int8, and
with which scales. Every engine runs these very numbers.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

PER_TENSOR = -1
"""``axis`` for one scale, as activations have."""
LEAST_ACTIVATION, LEAST_WEIGHT, MOST = -128, -127, 127
"""Bounds of int8. QuantizeLinear of ONNX and quantize of Core ML clamp to -128. Weights are rounded
before an engine sees them, and stop at -127, so that their range is symmetric."""


def quantize_dequantize(x: Tensor, scale: Tensor, axis: int = PER_TENSOR) -> Tensor:
    """Round a tensor to symmetric int8, and return the result as float.

    The zero point is 0. Numbers halfway between two steps go to the even one. Gradients pass
    unchanged inside the range and are zero outside. The gradient of the scale is that of LSQ
    (Esser et al., 2020, https://arxiv.org/abs/1902.08153), without its step-size factor.

    Args:
        x: Float tensor of any shape.
        scale: float32; a scalar, or one positive number for each index of ``axis``.
        axis: Dimension that the scales belong to; PER_TENSOR for one scale.

    Returns:
        float32 tensor of the shape of ``x``.
    """
    rounded: Tensor = _operation(x, scale, axis)
    return rounded


def least(axis: int) -> int:
    """Return the smallest int8 of activations, or of weights, which have an axis."""
    return LEAST_ACTIVATION if axis == PER_TENSOR else LEAST_WEIGHT


@torch.library.custom_op("fer_edge::quantize_dequantize", mutates_args=())
def _operation(x: Tensor, scale: Tensor, axis: int) -> Tensor:
    x = x.float()
    if axis == PER_TENSOR:
        # Vector instructions; torch's fake_quantize, number by number, takes four times as long.
        steps = (x * (1 / scale)).round_()
        return steps.clamp_(least(axis), MOST).mul_(scale)
    zeros = torch.zeros(len(scale), dtype=torch.int32, device=x.device)
    return torch.fake_quantize_per_channel_affine(x, scale, zeros, axis, least(axis), MOST)


@_operation.register_fake
def _shape(x: Tensor, scale: Tensor, axis: int) -> Tensor:
    return torch.empty_like(x, dtype=torch.float32)


def _keep(ctx: Any, inputs: tuple[Tensor, Tensor, int], output: Tensor) -> None:
    x, scale, axis = inputs
    ctx.save_for_backward(x, scale)
    ctx.axis = axis


def _backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
    x, scale = ctx.saved_tensors
    if ctx.axis == PER_TENSOR and not ctx.needs_input_grad[1]:  # one pass instead of five
        low, high = ((end * float(scale)) for end in (LEAST_ACTIVATION - 0.5, MOST + 0.5))
        kept = torch.ops.aten.hardtanh_backward(gradient, x.to(gradient.dtype), low, high)
        return kept.to(x.dtype), None, None
    wide = scale
    if ctx.axis != PER_TENSOR:
        wide = scale.view([-1 if d == ctx.axis else 1 for d in range(x.dim())])
    steps = x.float() / wide
    low, high = least(ctx.axis), MOST
    inside = (steps >= low - 0.5) & (steps <= high + 0.5)
    to_x = (gradient * inside).to(x.dtype) if ctx.needs_input_grad[0] else None
    to_scale = None
    if ctx.needs_input_grad[1]:
        each = torch.where(inside, steps.round() - steps, steps.clamp(low, high)) * gradient
        others = [d for d in range(x.dim()) if d != ctx.axis]
        to_scale = each.sum(others) if ctx.axis != PER_TENSOR else each.sum()
    return to_x, to_scale, None


_operation.register_autograd(_backward, setup_context=_keep)
OPERATION = torch.ops.fer_edge.quantize_dequantize.default
"""The operation as it stands in an exported graph."""
