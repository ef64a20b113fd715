"""Scales of activations with the least squared error on some faces."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.fx import Interpreter

from fer_edge.progress import Step
from fer_edge.training.models.quantize_operation import (
    LEAST_ACTIVATION,
    MOST,
    OPERATION,
    PER_TENSOR,
)
from fer_edge.training.models.quantized import QuantizedNet

_VALUES = 1 << 18
"""Largest number of values of one activation that its scale is chosen by."""
_CLIPS = tuple(0.2 + 0.025 * step for step in range(33))
"""Shares of the largest value that are tried as the end of the range, 0.2 to 1."""
_SMALLEST = 2.0**-24
"""Smallest scale: that of an activation that is always 0."""


@torch.no_grad()
def measure_scales(net: QuantizedNet, faces: list[Tensor], step: Step) -> None:
    """Set the scale of each activation from its values in float arithmetic.

    Args:
        net: Network to set the scales of; its weights are not rounded meanwhile.
        faces: Batches of normalised faces, float32 ``[N, C, S, S]``.
        step: Receives progress.
    """
    seen: dict[int, list[Tensor]] = {}
    share = _VALUES // max(len(faces), 1)
    for number, batch in enumerate(faces):
        step("Measuring ranges", number, len(faces))
        _Watch(net, seen, share).run(batch)
    step("Measuring ranges", len(faces), len(faces))
    for number, scale in enumerate(net.scales):
        scale.fill_(least_squares_scale(torch.cat(seen[number])))


def least_squares_scale(values: Tensor) -> float:
    """Return the scale whose rounding has the least squared error.

    Args:
        values: Values of one activation, float32 ``[N]``.
    """
    largest = float(values.abs().max())
    best = max(largest / MOST, _SMALLEST)
    least = float("inf")
    for clip in _CLIPS:
        scale = max(largest * clip / MOST, _SMALLEST)
        rounded = (values / scale).round().clamp(LEAST_ACTIVATION, MOST) * scale
        error = float((rounded - values).square().mean())
        if error < least:
            best, least = scale, error
    return best


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
            apart = max(flat.numel() // self._share, 1)
            self._seen.setdefault(self._next, []).append(flat[::apart].clone())
            self._next += 1
        return value
