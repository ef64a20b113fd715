"""What each operation of an ML Program computes, in torch: the table the evaluator works from.

Names, parameters and defaults are those of Core ML's MIL (iOS 15 to 17 sets). A parameter that is
not listed is refused like an unknown operation. Floats come as float32; the evaluator rounds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F


def _ints(values: Tensor) -> list[int]:
    return [int(v) for v in values.reshape(-1).tolist()]


def _paddings(
    pad_type: str, pad: Tensor | None, size: Sequence[int], reach: Sequence[int], step: list[int]
) -> list[int]:
    """Before and after each spatial dimension, as MIL orders them."""
    if pad_type == "valid":
        return [0] * (2 * len(size))
    if pad_type == "custom":
        return _ints(pad) if pad is not None else [0] * (2 * len(size))
    if pad_type not in ("same", "same_lower"):
        raise ValueError(f"unknown pad_type {pad_type!r}")
    found = []
    for length, span, stride in zip(size, reach, step, strict=True):
        total = max((math.ceil(length / stride) - 1) * stride + span - length, 0)
        small, large = total // 2, total - total // 2
        found += [large, small] if pad_type == "same_lower" else [small, large]
    return found


def _for_torch(pad: list[int]) -> list[int]:
    """torch pads from the last dimension to the first."""
    pairs = [pad[i : i + 2] for i in range(0, len(pad), 2)]
    return [amount for pair in reversed(pairs) for amount in pair]


def _conv(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    strides: Tensor | None = None,
    pad_type: str = "valid",
    pad: Tensor | None = None,
    dilations: Tensor | None = None,
    groups: Tensor | int = 1,
) -> Tensor:
    if x.ndim != 4:
        raise ValueError(f"only 2-D convolutions are known, the input has {x.ndim} dimensions")
    step = [1, 1] if strides is None else _ints(strides)
    spread = [1, 1] if dilations is None else _ints(dilations)
    reach = [(k - 1) * d + 1 for k, d in zip(weight.shape[2:], spread, strict=True)]
    padded = F.pad(x, _for_torch(_paddings(pad_type, pad, x.shape[2:], reach, step)))
    return F.conv2d(padded, weight, bias, step, 0, spread, int(groups))


def _window(
    x: Tensor, kernel_sizes: Tensor, strides: Tensor | None, pad_type: str, pad: Tensor | None
) -> tuple[list[int], list[int], list[int]]:
    """Size, step and paddings of a pooling."""
    if x.ndim != 4:
        raise ValueError(f"only 2-D pooling is known, the input has {x.ndim} dimensions")
    size = _ints(kernel_sizes)
    step = [1, 1] if strides is None else _ints(strides)
    return size, step, _paddings(pad_type, pad, x.shape[2:], size, step)


def _symmetric(pad: list[int]) -> list[int]:
    """MIL allows no other paddings with ceil_mode, which is torch's."""
    if pad[0::2] != pad[1::2]:
        raise ValueError(f"expected symmetric paddings with ceil_mode, got {pad}")
    return pad[0::2]


def _avg_pool(
    x: Tensor,
    kernel_sizes: Tensor,
    strides: Tensor | None = None,
    pad_type: str = "valid",
    pad: Tensor | None = None,
    exclude_padding_from_average: Tensor | bool = False,
    ceil_mode: Tensor | bool = False,
) -> Tensor:
    size, step, around = _window(x, kernel_sizes, strides, pad_type, pad)
    bare = bool(exclude_padding_from_average)
    if bool(ceil_mode):
        return F.avg_pool2d(x, size, step, _symmetric(around), True, not bare)
    mean = F.avg_pool2d(F.pad(x, _for_torch(around)), size, step)
    if not bare:
        return mean
    inside = F.pad(torch.ones_like(x[:1, :1]), _for_torch(around))
    return mean / F.avg_pool2d(inside, size, step)


def _max_pool(
    x: Tensor,
    kernel_sizes: Tensor,
    strides: Tensor | None = None,
    pad_type: str = "valid",
    pad: Tensor | None = None,
    ceil_mode: Tensor | bool = False,
) -> Tensor:
    size, step, around = _window(x, kernel_sizes, strides, pad_type, pad)
    if bool(ceil_mode):
        return F.max_pool2d(x, size, step, _symmetric(around), ceil_mode=True)
    return F.max_pool2d(F.pad(x, _for_torch(around), value=-math.inf), size, step)


def _linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    return F.linear(x, weight, bias)


def _matmul(
    x: Tensor,
    y: Tensor,
    transpose_x: Tensor | bool = False,
    transpose_y: Tensor | bool = False,
) -> Tensor:
    return (x.mT if bool(transpose_x) else x) @ (y.mT if bool(transpose_y) else y)


def _batch_norm(
    x: Tensor,
    mean: Tensor,
    variance: Tensor,
    gamma: Tensor | None = None,
    beta: Tensor | None = None,
    epsilon: Tensor | float = 1e-5,
) -> Tensor:
    return F.batch_norm(x, mean, variance, gamma, beta, eps=float(epsilon))


def _layer_norm(
    x: Tensor,
    axes: Tensor | None = None,
    gamma: Tensor | None = None,
    beta: Tensor | None = None,
    epsilon: Tensor | float = 1e-5,
) -> Tensor:
    over = sorted(a % x.ndim for a in (range(1, x.ndim) if axes is None else _ints(axes)))
    centred = x - x.mean(over, keepdim=True)
    y = centred / (centred.square().mean(over, keepdim=True) + float(epsilon)).sqrt()
    shape = [x.shape[d] if d in over else 1 for d in range(x.ndim)]
    if gamma is not None:
        y = y * gamma.reshape(shape)
    return y if beta is None else y + beta.reshape(shape)


def _gelu(x: Tensor, mode: str = "EXACT") -> Tensor:
    if mode == "SIGMOID_APPROXIMATION":
        return x * torch.sigmoid(1.702 * x)
    return F.gelu(x, approximate={"EXACT": "none", "TANH_APPROXIMATION": "tanh"}[mode])


def _reduce(kind: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def reduce(x: Tensor, axes: Tensor | None = None, keep_dims: Tensor | bool = False) -> Tensor:
        over = list(range(x.ndim)) if axes is None else _ints(axes)
        return kind(x, over, keepdim=bool(keep_dims))

    return reduce


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

    steps = [1] * x.ndim if stride is None else _ints(stride)
    cut: list[Any] = []
    for first, last, step, whole, to_end, squeezed in zip(
        _ints(begin), _ints(end), steps, flags(begin_mask), flags(end_mask), flags(squeeze_mask),
        strict=True,
    ):  # fmt: skip
        if squeezed:
            cut.append(first)
        else:
            cut.append(slice(None if whole else first, None if to_end else last, step))
    return x[tuple(cut)]


def _gather(
    x: Tensor,
    indices: Tensor,
    axis: Tensor | int = 0,
    batch_dims: Tensor | int = 0,
    validate_indices: Tensor | bool = False,
) -> Tensor:
    if int(batch_dims):
        raise ValueError("batch_dims is not known")
    axis = int(axis) % x.ndim
    taken = x.index_select(axis, indices.reshape(-1).long() % x.shape[axis])
    return taken.reshape(*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :])


def _pad(x: Tensor, pad: Tensor, mode: str = "constant", constant_val: Any = 0.0) -> Tensor:
    amounts = _for_torch(_ints(pad))
    if mode == "constant":
        return F.pad(x, amounts, value=float(constant_val))
    while amounts[-2:] == [0, 0]:  # torch wants to hear of the last dimensions alone
        amounts = amounts[:-2]
    return F.pad(x, amounts, mode={"reflect": "reflect", "replicate": "replicate"}[mode])


def _split(
    x: Tensor,
    axis: Tensor,
    num_splits: Tensor | None = None,
    split_sizes: Tensor | None = None,
) -> tuple[Tensor, ...]:
    if split_sizes is not None:
        return torch.split(x, _ints(split_sizes), int(axis))
    return torch.tensor_split(x, int(num_splits if num_splits is not None else 1), int(axis))


def _concat(values: Any, axis: Tensor, interleave: Tensor | bool = False) -> Tensor:
    if bool(interleave):
        raise ValueError("interleave is not known")
    return torch.cat(values if isinstance(values, list) else [values], int(axis))


def _squeeze(x: Tensor, axes: Tensor | None = None) -> Tensor:
    return x.squeeze() if axes is None else x.squeeze(tuple(_ints(axes)))


def _expand_dims(x: Tensor, axes: Tensor) -> Tensor:
    rank = x.ndim + axes.numel()
    for axis in sorted(a % rank for a in _ints(axes)):
        x = x.unsqueeze(axis)
    return x


def _reshape(x: Tensor, shape: Tensor) -> Tensor:
    wanted = [x.shape[i] if n == 0 else n for i, n in enumerate(_ints(shape))]
    return x.reshape(wanted)


def _cast(x: Tensor, dtype: str) -> Tensor:
    return {
        "fp16": lambda: x.half().float(),
        "fp32": lambda: x.float(),
        "int32": lambda: x.to(torch.int32),
        "bool": lambda: x != 0,
    }[dtype]()


def _classify(probabilities: Tensor, classes: list[str]) -> tuple[str, dict[str, float]]:
    shares = [float(p) for p in probabilities.reshape(-1)]
    if len(shares) != len(classes):
        raise ValueError(f"{len(classes)} labels for {len(shares)} probabilities")
    return classes[max(range(len(shares)), key=shares.__getitem__)], dict(
        zip(classes, shares, strict=True)
    )


_RANGES = {"int8": (-128, 127, torch.int8), "uint8": (0, 255, torch.uint8)}


def _along(values: Tensor, axis: Any, rank: int) -> Tensor:
    """A scalar, or one value per entry of an axis, ready to be broadcast."""
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
    """Indices are packed without gaps, the least significant bit first."""
    width = round(math.log2(lut.numel()))
    wanted = _ints(shape)
    count = math.prod(wanted)
    bits = (indices.reshape(-1, 1).int() >> torch.arange(8, dtype=torch.int32)) & 1
    places = bits.reshape(-1)[: count * width].reshape(count, width)
    return lut[(places << torch.arange(width, dtype=torch.int32)).sum(1).long()].reshape(wanted)


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
    # layers
    "conv": _conv,
    "linear": _linear,
    "matmul": _matmul,
    "avg_pool": _avg_pool,
    "max_pool": _max_pool,
    "batch_norm": _batch_norm,
    "layer_norm": _layer_norm,
    "reduce_mean": _reduce(torch.mean),
    "reduce_sum": _reduce(torch.sum),
    "reduce_max": _reduce(torch.amax),
    # activations
    "relu": lambda x: x.relu(),
    "relu6": lambda x: x.clamp(0, 6),
    "thresholded_relu": lambda x, alpha=1.0: torch.where(x >= float(alpha), x, 0.0),
    "leaky_relu": lambda x, alpha: F.leaky_relu(x, float(alpha)),
    "sigmoid": lambda x: x.sigmoid(),
    "sigmoid_hard": lambda x, alpha=0.2, beta=0.5: (float(alpha) * x + float(beta)).clamp(0, 1),
    "silu": lambda x: F.silu(x),
    "gelu": _gelu,
    "tanh": lambda x: x.tanh(),
    "softmax": lambda x, axis=-1: x.softmax(int(axis)),
    # shapes
    "identity": lambda x: x,
    "reshape": _reshape,
    "transpose": lambda x, perm: x.permute(_ints(perm)),
    "expand_dims": _expand_dims,
    "squeeze": _squeeze,
    "concat": _concat,
    "split": _split,
    "stack": lambda values, axis: torch.stack(values, int(axis)),
    "slice_by_index": _slice_by_index,
    "gather": _gather,
    "pad": _pad,
    "tile": lambda x, reps: x.tile(_ints(reps)),
    "reverse": lambda x, axes: x.flip(_ints(axes)),
    "cast": _cast,
    "classify": _classify,
    # compressed weights and activations
    "quantize": _quantize,
    "dequantize": _dequantize,
    "constexpr_affine_dequantize": _affine_dequantize,
    "constexpr_lut_to_dense": _lut_to_dense,
    "constexpr_cast": lambda source_val, output_dtype: _cast(source_val, output_dtype),
}
