"""Comparison of a weights file with its network, before memory is taken for either."""

from __future__ import annotations

import json
import struct
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from fer_edge.errors import CheckpointError
from fer_edge.training.models.network import ExpressionNet, ModelSpec

Shape = tuple[int, ...]

_MOST_HEADER_BYTES = 16 << 20
_FREE_PARAMETERS = 200
"""Parameters that any network may create; timm replaces some while it builds."""
_NAMED = 4
"""Largest number of tensors that a message names."""


def check_shapes(spec: ModelSpec, stored: Mapping[str, Shape]) -> None:
    """Check that a file has exactly the tensors of a network.

    The network is built on torch's meta device, without memory for its parameters, and not further
    than the file has tensors.

    Args:
        spec: Specification of the network.
        stored: Shape of each tensor of the file.

    Raises:
        CheckpointError: The file is for another network.
        RecipeError: The network cannot be built.
    """
    with _at_most(4 * len(stored) + _FREE_PARAMETERS), torch.device("meta"):
        net = ExpressionNet(spec)
    own = {name: tuple(value.shape) for name, value in net.state_dict().items()}
    if differences := _differences(own, stored):
        raise CheckpointError(f"the weights do not fit the card: {differences}")


def header_shapes(weights: bytes) -> dict[str, Shape]:
    """Return the shape of each tensor, from a safetensors file's header.

    Raises CheckpointError for a damaged header.
    """
    try:
        (length,) = struct.unpack_from("<Q", weights)
        if length > min(len(weights) - 8, _MOST_HEADER_BYTES):
            raise ValueError("the header is longer than the file")
        entries: dict[str, Any] = json.loads(weights[8 : 8 + length])
        return {
            name: tuple(int(side) for side in entry["shape"])
            for name, entry in entries.items()
            if name != "__metadata__"
        }
    except (
        struct.error,
        LookupError,
        TypeError,
        ValueError,
        AttributeError,
        RecursionError,
    ) as error:
        raise CheckpointError(
            f"the weights are damaged: {str(error)[:80]}. Copy the checkpoint again"
        ) from error


@contextmanager
def _at_most(parameters: int) -> Iterator[None]:
    """Raise CheckpointError once this thread has created more parameters."""
    thread, count = threading.get_ident(), 0

    def note(module: nn.Module, name: str, parameter: nn.Parameter) -> None:
        nonlocal count
        count += threading.get_ident() == thread
        if count > parameters:
            raise CheckpointError(
                "the weights do not fit the card: its network has more parameters than the file"
            )

    hook = register_module_parameter_registration_hook(note)
    try:
        yield
    finally:
        hook.remove()


def _differences(own: Mapping[str, Shape], stored: Mapping[str, Shape]) -> str:
    kinds = (
        ("missing", [n for n in own if n not in stored]),
        ("unknown", [n for n in stored if n not in own]),
        ("of another shape", [n for n in own if n in stored and own[n] != stored[n]]),
    )
    return "; ".join(f"{len(names)} {kind} ({_some(names)})" for kind, names in kinds if names)


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(name[:80] for name in names[:_NAMED]) + more
