"""int8 form of a checkpoint: its file, and the network that it makes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from fer_edge.errors import CheckpointError
from fer_edge.shown import shown
from fer_edge.training.models.network import ExpressionNet
from fer_edge.training.models.quantize_operation import LEAST_WEIGHT, MOST
from fer_edge.training.models.quantized import SCALES, QuantizedNet

GRID = (
    "symmetric int8: activations per tensor, powers of two, -128 to 127; weights per output "
    "channel, -127 to 127"
)
"""Grid of every scale, as the card states it."""
_MOST_SCALES = 100_000
SMALLEST_SCALE, LARGEST_SCALE = 2.0**-40, 2.0**40
"""Bounds of an activation's scale."""


@dataclass(frozen=True)
class Int8Weights:
    """Scales and int8 weights of a network.

    Attributes:
        activations: Scale of each activation by name, in the order of the computation.
        tensors: int8 weights, float32 biases, and float32 scales of the weights' channels.
        facts: Figures of the quantisation; kept in the card, never interpreted.
    """

    activations: Mapping[str, float]
    tensors: Mapping[str, Tensor]
    facts: dict[str, Any] = field(default_factory=dict)

    @staticmethod
    def of(net: QuantizedNet, facts: dict[str, Any]) -> Int8Weights:
        """Round the weights of a network to int8."""
        state = {
            name: value.detach().cpu().contiguous()
            for name, value in net.body.state_dict().items()
            if not name.startswith(f"{SCALES}.")
        }
        for name, scale in net.weight_names().items():
            steps = rounded_weight(state[name].numpy(), scale.detach().cpu().numpy(), 0)
            state[name] = torch.from_numpy(steps)
        return Int8Weights(net.activation_scales(), state, facts)

    @staticmethod
    def read(card: Any, data: bytes) -> Int8Weights:
        """Read a card's section and its file.

        Raises:
            CheckpointError: A scale is not a positive number, or the file is not in safetensors
                format.
        """
        scales = card.get("activations") if isinstance(card, dict) else None
        if not isinstance(scales, dict) or not 0 < len(scales) <= _MOST_SCALES:
            raise CheckpointError(
                "expected the scales of the activations in the card's int8 section"
            )
        for name, value in scales.items():
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if not number or not SMALLEST_SCALE <= value <= LARGEST_SCALE:
                raise CheckpointError(
                    f"expected a positive scale of {shown(name)} in the card's int8 section, got "
                    f"{shown(value)}"
                )
        try:
            tensors = safetensors.torch.load(data)
        except (SafetensorError, ValueError, KeyError) as error:
            raise CheckpointError(f"the int8 weights cannot be read: {error}") from error
        known = {"file", "sha256", "grid", "activations"}
        return Int8Weights(scales, tensors, {k: v for k, v in card.items() if k not in known})

    def card(self) -> dict[str, Any]:
        """Return the card's section as plain values, without the file."""
        return {"grid": GRID, "activations": dict(self.activations), **self.facts}

    def data(self) -> bytes:
        """Return the content of the file."""
        data: bytes = safetensors.torch.save(dict(self.tensors))
        return data

    @property
    def sha256(self) -> str:
        """SHA-256 of the weights and of the activations' scales, which the card holds."""
        scales = json.dumps(dict(self.activations), sort_keys=True).encode()
        return hashlib.sha256(scales + self.data()).hexdigest()

    def network(self, net: ExpressionNet) -> QuantizedNet:
        """Make the network that computes in int8. It takes some seconds.

        Args:
            net: Float network of the same checkpoint.

        Raises:
            CheckpointError: The scales or the weights are not those of the network.
        """
        made = QuantizedNet(net, self.activations)
        state = dict(self.tensors)
        for name in made.weight_names():
            if name in state and state[name].dtype != torch.int8:
                raise CheckpointError(
                    f"expected int8 weights, {shown(name)} has {state[name].dtype}"
                )
        scales = {n: s for n, s in made.body.state_dict().items() if n.startswith(f"{SCALES}.")}
        try:
            made.body.load_state_dict({**state, **scales}, strict=True)
        except RuntimeError as error:
            raise CheckpointError(f"the int8 weights do not fit the card: {error}") from error
        with torch.no_grad():
            for name, scale in made.weight_names().items():
                usable = torch.isfinite(scale).all() and bool((scale > 0).all())
                if not usable:
                    raise CheckpointError(f"expected positive scales of {shown(name)}")
                weight = made.body.get_parameter(name)
                weight.mul_(scale.view(-1, *[1] * (weight.ndim - 1)))
        if not all(torch.isfinite(value).all() for value in made.body.state_dict().values()):
            raise CheckpointError("the int8 weights hold values that are not finite")
        return made.eval()


def rounded_weight(
    weight: npt.NDArray[np.float32], scale: npt.NDArray[np.float32], axis: int | None
) -> npt.NDArray[np.int8]:
    """Round a weight as torch does: with the reciprocal of the scale, halves to even.

    Args:
        weight: float32, of any shape.
        scale: float32; a scalar, or a number for each index of ``axis``.
        axis: Dimension that the scales belong to; None for one scale.

    Returns:
        int8 of the shape of ``weight``.
    """
    if axis is not None:
        shape = [1] * weight.ndim
        shape[axis] = -1
        scale = scale.reshape(shape)
    steps = np.rint(weight * (np.float32(1) / scale))
    return np.clip(steps, LEAST_WEIGHT, MOST).astype(np.int8)
