"""Scales of activations: the powers of two with the least squared error on some faces."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.fx import Interpreter

from fer_edge.errors import CheckpointError
from fer_edge.progress import Step
from fer_edge.training.int8_weights import LARGEST_SCALE
from fer_edge.training.models.quantize_operation import (
    LEAST_ACTIVATION,
    MOST,
    OPERATION,
    PER_TENSOR,
)
from fer_edge.training.models.quantized import SCALES, QuantizedNet
from fer_edge.training.quantization.exact import ExactScales

_LOWEST = 4
"""Powers of two below a range without clipping that are tried."""
_SMALLEST = 2.0**-24
"""Smallest scale: that of an activation that is always 0."""
_VALUES = 1 << 18
"""Largest number of values of one activation that its scale is chosen by."""


@torch.no_grad()
def measure_scales(net: QuantizedNet, faces: list[Tensor], step: Step) -> None:
    """Set the scale of each activation from its values in float arithmetic.

    Args:
        net: Network to set the scales of; its weights are not rounded meanwhile.
        faces: Batches of normalised faces, float32 ``[N, C, S, S]``.
        step: Receives progress.

    Raises:
        CheckpointError: An activation is too large for int8, or not a number.
    """
    seen: dict[int, list[Tensor]] = {}
    share = _VALUES // max(len(faces), 1)
    for number, batch in enumerate(faces):
        step("Measuring ranges", number, len(faces))
        _Watch(net, seen, share).run(batch)
    step("Measuring ranges", len(faces), len(faces))
    values = {f"{SCALES}.{number}": torch.cat(seen[number]) for number in seen}
    for name, sample in zip(net.names, values.values(), strict=True):
        _check_range(name, float(sample.abs().max()))
    exact = ExactScales(net)
    chosen = {
        names: least_squares_exponent([values[name] for name in names]) for names in exact.groups
    }
    exact.set_activations(chosen)


def _check_range(name: str, largest: float) -> None:
    most = LARGEST_SCALE * MOST
    if not largest <= most:  # nor is NaN
        raise CheckpointError(
            f"the values of {name} reach {largest:.1e} on the faces, int8 takes at most "
            f"{most:.1e}. Train again with a smaller --set fit.lr=…, or convert the float "
            "checkpoint with --precision fp32"
        )


def least_squares_exponent(activations: Sequence[Tensor]) -> int:
    """Return the exponent of the power of two whose rounding has the least squared error.

    Args:
        activations: Values of each activation that has this scale, float32 ``[N]``.
    """
    tops = [_exponent_without_clipping(values) for values in activations]
    candidates = range(min(tops) - _LOWEST, max(tops) + 1)
    return min(candidates, key=lambda e: sum(_squared_error(v, 2.0**e) for v in activations))


def _exponent_without_clipping(values: Tensor) -> int:
    return math.ceil(math.log2(max(float(values.abs().max()) / MOST, _SMALLEST)))


def _squared_error(values: Tensor, scale: float) -> float:
    rounded = (values / scale).round().clamp(LEAST_ACTIVATION, MOST) * scale
    return float((rounded - values).square().mean())


def step_between(count: int, wanted: int) -> int:
    """Return a step that takes about ``wanted`` of ``count`` values, spread over all columns.

    The step shares no factor with ``count``, and so none with the width of a map.

    Args:
        count: Number of values, of complete maps.
        wanted: Number of values to take. All are taken of fewer than twice as many.
    """
    apart = max(count // wanted, 1)
    while math.gcd(apart, count) > 1:
        apart += 1
    return apart


class _Watch(Interpreter):
    """Runs the graph in float and keeps a sample of each activation."""

    def __init__(self, net: QuantizedNet, seen: dict[int, list[Tensor]], share: int) -> None:
        super().__init__(net.body)
        self._seen, self._share, self._next = seen, share, 0

    def call_function(self, target: Any, args: Any, kwargs: Any) -> Any:
        if target is not OPERATION:
            return super().call_function(target, args, kwargs)
        value, _, axis = args
        if axis == PER_TENSOR:
            flat = value.flatten()
            apart = step_between(flat.numel(), self._share)
            self._seen.setdefault(self._next, []).append(flat[::apart].clone())
            self._next += 1
        return value
