"""Layers of an ML Program in torch: convolutions, poolings, norms, reductions."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F


def ints(values: Tensor) -> list[int]:
    """Return a tensor of integers as a flat list."""
    return [int(v) for v in values.reshape(-1).tolist()]


def _paddings(
    pad_type: str, pad: Tensor | None, size: Sequence[int], reach: Sequence[int], step: list[int]
) -> list[int]:
    """Compute the paddings before and after each spatial dimension, in MIL's order."""
    if pad_type == "valid":
        return [0] * (2 * len(size))
    if pad_type == "custom":
        return ints(pad) if pad is not None else [0] * (2 * len(size))
    if pad_type not in ("same", "same_lower"):
        raise ValueError(f"unknown pad_type {pad_type!r}")
    paddings = []
    for length, span, stride in zip(size, reach, step, strict=True):
        total = max((math.ceil(length / stride) - 1) * stride + span - length, 0)
        small, large = total // 2, total - total // 2
        paddings += [large, small] if pad_type == "same_lower" else [small, large]
    return paddings


def for_torch(pad: list[int]) -> list[int]:
    """Reorder paddings for torch, which starts with the last dimension."""
    pairs = [pad[i : i + 2] for i in range(0, len(pad), 2)]
    return [amount for pair in reversed(pairs) for amount in pair]


def conv(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    strides: Tensor | None = None,
    pad_type: str = "valid",
    pad: Tensor | None = None,
    dilations: Tensor | None = None,
    groups: Tensor | int = 1,
) -> Tensor:
    compute = _by_rank(x, F.conv1d, F.conv2d)
    ones = [1] * (x.ndim - 2)
    step = ones if strides is None else ints(strides)
    spread = ones if dilations is None else ints(dilations)
    reach = [(k - 1) * d + 1 for k, d in zip(weight.shape[2:], spread, strict=True)]
    padded = F.pad(x, for_torch(_paddings(pad_type, pad, x.shape[2:], reach, step)))
    return compute(padded, weight, bias, step, 0, spread, int(groups))


def _by_rank(x: Tensor, *functions: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Return the function of one or of two spatial dimensions."""
    if not 0 <= x.ndim - 3 < len(functions):
        raise ValueError(f"expected one or two spatial dimensions, got the shape {list(x.shape)}")
    return functions[x.ndim - 3]


def _window(
    x: Tensor, kernel_sizes: Tensor, strides: Tensor | None, pad_type: str, pad: Tensor | None
) -> tuple[list[int], list[int], list[int]]:
    """Return size, step and paddings of a pooling."""
    size = ints(kernel_sizes)
    step = [1] * len(size) if strides is None else ints(strides)
    return size, step, _paddings(pad_type, pad, x.shape[2:], size, step)


def _symmetric(pad: list[int]) -> list[int]:
    """Check for symmetric paddings, the only ones that MIL allows with ceil_mode."""
    if pad[0::2] != pad[1::2]:
        raise ValueError(f"expected symmetric paddings with ceil_mode, got {pad}")
    return pad[0::2]


def avg_pool(
    x: Tensor,
    kernel_sizes: Tensor,
    strides: Tensor | None = None,
    pad_type: str = "valid",
    pad: Tensor | None = None,
    exclude_padding_from_average: Tensor | bool = False,
    ceil_mode: Tensor | bool = False,
) -> Tensor:
    compute = _by_rank(x, F.avg_pool1d, F.avg_pool2d)
    size, step, around = _window(x, kernel_sizes, strides, pad_type, pad)
    bare = bool(exclude_padding_from_average)
    if bool(ceil_mode):
        return compute(x, size, step, _symmetric(around), True, not bare)
    mean = compute(F.pad(x, for_torch(around)), size, step)
    if not bare:
        return mean
    inside = F.pad(torch.ones_like(x[:1, :1]), for_torch(around))
    return mean / compute(inside, size, step)


def max_pool(
    x: Tensor,
    kernel_sizes: Tensor,
    strides: Tensor | None = None,
    pad_type: str = "valid",
    pad: Tensor | None = None,
    ceil_mode: Tensor | bool = False,
) -> Tensor:
    compute = _by_rank(x, F.max_pool1d, F.max_pool2d)
    size, step, around = _window(x, kernel_sizes, strides, pad_type, pad)
    if bool(ceil_mode):
        return compute(x, size, step, _symmetric(around), ceil_mode=True)
    return compute(F.pad(x, for_torch(around), value=-math.inf), size, step)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    return F.linear(x, weight, bias)


def matmul(
    x: Tensor,
    y: Tensor,
    transpose_x: Tensor | bool = False,
    transpose_y: Tensor | bool = False,
) -> Tensor:
    return (x.mT if bool(transpose_x) else x) @ (y.mT if bool(transpose_y) else y)


def batch_norm(
    x: Tensor,
    mean: Tensor,
    variance: Tensor,
    gamma: Tensor | None = None,
    beta: Tensor | None = None,
    epsilon: Tensor | float = 1e-5,
) -> Tensor:
    return F.batch_norm(x, mean, variance, gamma, beta, eps=float(epsilon))


def layer_norm(
    x: Tensor,
    axes: Tensor | None = None,
    gamma: Tensor | None = None,
    beta: Tensor | None = None,
    epsilon: Tensor | float = 1e-5,
) -> Tensor:
    over = sorted(a % x.ndim for a in (range(1, x.ndim) if axes is None else ints(axes)))
    centred = x - x.mean(over, keepdim=True)
    y = centred / (centred.square().mean(over, keepdim=True) + float(epsilon)).sqrt()
    shape = [x.shape[d] if d in over else 1 for d in range(x.ndim)]
    if gamma is not None:
        y = y * gamma.reshape(shape)
    return y if beta is None else y + beta.reshape(shape)


def gelu(x: Tensor, mode: str = "EXACT") -> Tensor:
    if mode == "SIGMOID_APPROXIMATION":
        return x * torch.sigmoid(1.702 * x)
    return F.gelu(x, approximate={"EXACT": "none", "TANH_APPROXIMATION": "tanh"}[mode])


def reduce(kind: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def reduced(x: Tensor, axes: Tensor | None = None, keep_dims: Tensor | bool = False) -> Tensor:
        over = list(range(x.ndim)) if axes is None else ints(axes)
        return kind(x, over, keepdim=bool(keep_dims))

    return reduced
