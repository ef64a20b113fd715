"""Operations of an ML Program in torch: the evaluator's table.

Names, parameters and defaults are those of Core ML's MIL (iOS 15 to 17 sets). A parameter that is
not listed is refused like an unknown operation. Floats arrive as float32; the evaluator rounds.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from fer_edge.converters.coreml_evaluator.layers import (
    avg_pool,
    batch_norm,
    conv,
    for_torch,
    gelu,
    ints,
    layer_norm,
    linear,
    matmul,
    max_pool,
    reduce,
)


def _slice_by_index(
    x: Tensor,
    begin: Tensor,
    end: Tensor,
    stride: Tensor | None = None,
    begin_mask: Tensor | None = None,
    end_mask: Tensor | None = None,
    squeeze_mask: Tensor | None = None,
) -> Tensor:
    def flags(mask: Tensor | None) -> list[bool]:
        return [False] * x.ndim if mask is None else [bool(v) for v in mask.tolist()]

    steps = [1] * x.ndim if stride is None else ints(stride)
    cut: list[Any] = []
    masks = zip(flags(begin_mask), flags(end_mask), flags(squeeze_mask), strict=True)
    ranges = zip(ints(begin), ints(end), steps, strict=True)
    for (first, last, step), (from_start, to_end, squeezed) in zip(ranges, masks, strict=True):
        if squeezed:
            cut.append(first)
        else:
            cut.append(slice(None if from_start else first, None if to_end else last, step))
    return x[tuple(cut)]


def _gather(
    x: Tensor,
    indices: Tensor,
    axis: Tensor | int = 0,
    batch_dims: Tensor | int = 0,
    validate_indices: Tensor | bool = False,
) -> Tensor:
    if int(batch_dims):
        raise ValueError("batch_dims is not supported")
    axis = int(axis) % x.ndim
    rows = x.index_select(axis, indices.reshape(-1).long() % x.shape[axis])
    return rows.reshape(*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :])


def _pad(x: Tensor, pad: Tensor, mode: str = "constant", constant_val: Any = 0.0) -> Tensor:
    amounts = for_torch(ints(pad))
    if mode == "constant":
        return F.pad(x, amounts, value=float(constant_val))
    while amounts[-2:] == [0, 0]:  # torch accepts paddings of the last dimensions only
        amounts = amounts[:-2]
    return F.pad(x, amounts, mode={"reflect": "reflect", "replicate": "replicate"}[mode])


def _split(
    x: Tensor,
    axis: Tensor,
    num_splits: Tensor | None = None,
    split_sizes: Tensor | None = None,
) -> tuple[Tensor, ...]:
    if split_sizes is not None:
        return torch.split(x, ints(split_sizes), int(axis))
    return torch.tensor_split(x, int(num_splits if num_splits is not None else 1), int(axis))


def _concat(values: Any, axis: Tensor, interleave: Tensor | bool = False) -> Tensor:
    if bool(interleave):
        raise ValueError("interleave is not supported")
    return torch.cat(values if isinstance(values, list) else [values], int(axis))


def _squeeze(x: Tensor, axes: Tensor | None = None) -> Tensor:
    return x.squeeze() if axes is None else x.squeeze(tuple(ints(axes)))


def _expand_dims(x: Tensor, axes: Tensor) -> Tensor:
    rank = x.ndim + axes.numel()
    for axis in sorted(a % rank for a in ints(axes)):
        x = x.unsqueeze(axis)
    return x


def _reshape(x: Tensor, shape: Tensor) -> Tensor:
    return x.reshape([x.shape[i] if n == 0 else n for i, n in enumerate(ints(shape))])


def _cast(x: Tensor, dtype: str) -> Tensor:
    return {
        "fp16": lambda: x.half().float(),
        "fp32": lambda: x.float(),
        "int32": lambda: x.to(torch.int32),
        "bool": lambda: x != 0,
    }[dtype]()


def _softplus_parametric(x: Tensor, alpha: Tensor, beta: Tensor) -> Tensor:
    return _along(alpha, 1, x.ndim) * F.softplus(_along(beta, 1, x.ndim) * x)


def _classify(probabilities: Tensor, classes: list[str]) -> tuple[str, dict[str, float]]:
    shares = [float(p) for p in probabilities.reshape(-1)]
    if len(shares) != len(classes):
        raise ValueError(f"{len(classes)} labels for {len(shares)} probabilities")
    return classes[max(range(len(shares)), key=shares.__getitem__)], dict(
        zip(classes, shares, strict=True)
    )


_RANGES = {"int8": (-128, 127, torch.int8), "uint8": (0, 255, torch.uint8)}


def _along(values: Tensor, axis: Any, rank: int) -> Tensor:
    """Shape a scalar, or one value per entry of an axis, for broadcasting."""
    if values.ndim == 0:
        return values
    shape = [1] * rank
    shape[int(axis) % rank] = -1
    return values.reshape(shape)


def _quantize(
    input: Tensor,  # noqa: A002  (MIL's name)
    scale: Tensor,
    output_dtype: str,
    zero_point: Tensor | None = None,
    axis: Tensor | None = None,
) -> Tensor:
    low, high, dtype = _RANGES[output_dtype]
    steps = torch.round(input / _along(scale, axis, input.ndim))
    if zero_point is not None:
        steps = steps + _along(zero_point.float(), axis, input.ndim)
    return steps.clamp(low, high).to(dtype)


def _dequantize(
    input: Tensor,  # noqa: A002  (MIL's name)
    scale: Tensor,
    zero_point: Tensor | None = None,
    axis: Tensor | None = None,
) -> Tensor:
    steps = input.float()
    if zero_point is not None:
        steps = steps - _along(zero_point.float(), axis, input.ndim)
    return steps * _along(scale, axis, input.ndim)


def _affine_dequantize(
    quantized_data: Tensor, zero_point: Tensor, scale: Tensor, axis: Tensor
) -> Tensor:
    return _dequantize(quantized_data, scale, zero_point, axis)


def _lut_to_dense(indices: Tensor, lut: Tensor, shape: Tensor) -> Tensor:
    """Unpack palette indices, which have no gaps and start at the least significant bit."""
    width = round(math.log2(lut.numel()))
    sizes = ints(shape)
    count = math.prod(sizes)
    bits = (indices.reshape(-1, 1).int() >> torch.arange(8, dtype=torch.int32)) & 1
    places = bits.reshape(-1)[: count * width].reshape(count, width)
    return lut[(places << torch.arange(width, dtype=torch.int32)).sum(1).long()].reshape(sizes)


OPERATIONS: dict[str, Callable[..., Any]] = {
    # arithmetic
    "add": lambda x, y: x + y,
    "sub": lambda x, y: x - y,
    "mul": lambda x, y: x * y,
    "real_div": lambda x, y: x / y,
    "pow": lambda x, y: x**y,
    "maximum": lambda x, y: torch.maximum(x, y),
    "minimum": lambda x, y: torch.minimum(x, y),
    "abs": lambda x: x.abs(),
    "square": lambda x: x.square(),
    "sqrt": lambda x: x.sqrt(),
    "rsqrt": lambda x, epsilon=1e-12: (x + float(epsilon)).rsqrt(),
    "inverse": lambda x, epsilon=1e-4: 1 / (x + float(epsilon)),
    "exp": lambda x: x.exp(),
    "log": lambda x, epsilon=1e-45: (x + float(epsilon)).log(),
    "erf": lambda x: x.erf(),
    "clip": lambda x, alpha, beta: x.clamp(float(alpha), float(beta)),
    "round": lambda x: x.round(),
    # layers
    "conv": conv,
    "linear": linear,
    "matmul": matmul,
    "avg_pool": avg_pool,
    "max_pool": max_pool,
    "batch_norm": batch_norm,
    "layer_norm": layer_norm,
    "reduce_mean": reduce(torch.mean),
    "reduce_sum": reduce(torch.sum),
    "reduce_max": reduce(torch.amax),
    "reduce_l2_norm": reduce(lambda x, over, keepdim: x.square().sum(over, keepdim).sqrt()),
    # activations
    "relu": lambda x: x.relu(),
    "relu6": lambda x: x.clamp(0, 6),
    "thresholded_relu": lambda x, alpha=1.0: torch.where(x >= float(alpha), x, 0.0),
    "leaky_relu": lambda x, alpha: F.leaky_relu(x, float(alpha)),
    "prelu": lambda x, alpha: F.prelu(x, alpha),
    "elu": lambda x, alpha: F.elu(x, float(alpha)),
    "softplus": lambda x: F.softplus(x),
    "softplus_parametric": _softplus_parametric,
    "softsign": lambda x: F.softsign(x),
    "sigmoid": lambda x: x.sigmoid(),
    "sigmoid_hard": lambda x, alpha=0.2, beta=0.5: (float(alpha) * x + float(beta)).clamp(0, 1),
    "silu": lambda x: F.silu(x),
    "gelu": gelu,
    "tanh": lambda x: x.tanh(),
    "softmax": lambda x, axis=-1: x.softmax(int(axis)),
    # shapes
    "identity": lambda x: x,
    "reshape": _reshape,
    "transpose": lambda x, perm: x.permute(ints(perm)),
    "expand_dims": _expand_dims,
    "squeeze": _squeeze,
    "concat": _concat,
    "split": _split,
    "stack": lambda values, axis: torch.stack(values, int(axis)),
    "slice_by_index": _slice_by_index,
    "gather": _gather,
    "pad": _pad,
    "tile": lambda x, reps: x.tile(ints(reps)),
    "reverse": lambda x, axes: x.flip(ints(axes)),
    "cast": _cast,
    "classify": _classify,
    # compressed weights and activations
    "quantize": _quantize,
    "dequantize": _dequantize,
    "constexpr_affine_dequantize": _affine_dequantize,
    "constexpr_lut_to_dense": _lut_to_dense,
    "constexpr_cast": lambda source_val, output_dtype: _cast(source_val, output_dtype),
}
