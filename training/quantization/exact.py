"""Scales with which every engine computes the same int8 numbers, bit for bit.

An engine computes a layer in three steps:

1. It adds the products as integers.
2. It multiplies the sum by the scales in float32.
3. It rounds the result.

With arbitrary scales, step 2 rounds as well, in an order that each engine chooses. A sum halfway
between two steps then goes up on one chip and down on another, and later layers carry the
difference on. These rules leave no float operation anything to round:

- The scale of an activation is a power of two.
- The scale of a weight's channel makes the factor of its sums, ``input * weight / output``, a
  multiple of 2^-16 with few digits. A product below 128 then fits into float32's 24 bits, even
  with the 128 that engines add for uint8.
- A bias is a multiple of ``input * weight``: a whole number of steps of the sum.
- An addition's two numbers and its sum share one scale. The factors of the layers that it adds
  have an odd last digit. OpenVINO does not round a layer before it adds. With one scale this
  differs in exact ties alone, which odd factors make rare (OpenVINO 2026.4).

Averages can be ties. LiteRT rounds ties away from zero, the other engines to the even step. LiteRT
is thus exact for networks without pooling inside their bodies, such as MobileNets. The rules do not
cover functions that engines approximate, such as SiLU and softmax.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.fx import Node

from fer_edge.training.models.quantize_operation import MOST, OPERATION
from fer_edge.training.models.quantized import LAYERS, SCALES, SUMS, QuantizedNet, source

_FRACTION_BITS = 16
"""Binary places of a factor. float32 holds 24 bits: 7 for int8, 1 for the 128 of uint8."""
_DIGITS = 6
"""Binary digits of a factor, so that unfinished sums fit into float32 too."""
_SMALLEST = 2.0**-20
"""Smallest largest weight of a channel, for channels whose weights are all 0."""
_AVERAGES = {
    torch.ops.aten.mean.dim,
    torch.ops.aten.adaptive_avg_pool2d.default,
    torch.ops.aten.avg_pool2d.default,
}


@dataclass(frozen=True)
class Layer:
    """Names of the parameters of a convolution or a matrix product.

    Attributes:
        input: Scale of the activation that it reads.
        weight: Weight.
        weight_scale: Scales of the weight's output channels.
        bias: Bias, or None.
        output: Scale that rounds its result; None if the result stays in float.
        added: An addition reads its result.
    """

    input: str
    weight: str
    weight_scale: str
    bias: str | None
    output: str | None
    added: bool


class ExactScales:
    """Rules of exact scales for one network.

    Args:
        net: Network whose scales, weights and biases are set.

    Attributes:
        layers: Layers of the network.
    """

    def __init__(self, net: QuantizedNet) -> None:
        self._net = net
        self._tied = _tied(net)
        added = {name for names in self._tied for name in names}
        self.layers = tuple(_layers(net, added))

    @property
    def groups(self) -> list[tuple[str, ...]]:
        """Names of the activations' scales; those in one group have the same value."""
        tied = {name for names in self._tied for name in names}
        names = (f"{SCALES}.{number}" for number in range(len(self._net.names)))
        return [*self._tied, *((name,) for name in names if name not in tied)]

    @torch.no_grad()
    def set_activations(self, exponents: Mapping[tuple[str, ...], int]) -> None:
        """Set the scales of the activations to powers of two.

        Args:
            exponents: Exponent of each of ``groups``.
        """
        for names, exponent in exponents.items():
            for name in names:
                self._parameter(name).fill_(2.0**exponent)
        group = {name: names for names in self.groups for name in names}
        for pooled, averaged in self._averages():
            # The average of nine numbers is not a tie if its steps are not wider than theirs.
            for name in group[averaged]:
                self._parameter(name).clamp_(max=float(self._parameter(pooled)))

    @torch.no_grad()
    def set_weights(self) -> None:
        """Set the scales of each weight's channels, the smallest exact ones that clip nothing."""
        first: dict[str, Tensor] = {}
        for layer in self.layers:
            weight = self._parameter(layer.weight)
            least = weight.abs().flatten(1).amax(1).clamp_min(_SMALLEST) / MOST
            scale = self._scale(layer, least)
            if layer.weight_scale in first:  # layers that share a weight
                scale = torch.maximum(scale, first[layer.weight_scale])
            first[layer.weight_scale] = scale
            self._parameter(layer.weight_scale).copy_(scale)

    @torch.no_grad()
    def set_biases(self) -> None:
        """Round each bias to whole steps of its layer's sum."""
        for layer in self.layers:
            if layer.bias is not None:
                step = self._parameter(layer.input) * self._parameter(layer.weight_scale)
                bias = self._parameter(layer.bias)
                bias.copy_((bias / step).round() * step)

    def _scale(self, layer: Layer, least: Tensor) -> Tensor:
        mantissa, exponent = torch.frexp(least)
        step = torch.ldexp(torch.ones_like(mantissa), exponent - _DIGITS)
        if layer.output is None:
            return (least / step).ceil() * step
        ratio = float(self._parameter(layer.output)) / float(self._parameter(layer.input))
        smallest = ratio * 2.0**-_FRACTION_BITS
        if not layer.added:
            step = step.clamp_min(smallest)
            return (least / step).ceil().clamp_min(1) * step
        count = (least / smallest).ceil().clamp_min(1)
        return (count + (count % 2 == 0)) * smallest

    def _averages(self) -> Iterator[tuple[str, str]]:
        """Return the scale of each averaged activation with that of its average."""
        for node in self._net.body.graph.nodes:
            if node.target in _AVERAGES:
                before, after = _read(node.all_input_nodes[0]), _rounded(node)
                if before is not None and after is not None:
                    yield before, after

    def _parameter(self, name: str) -> torch.nn.Parameter:
        return self._net.body.get_parameter(name)


def _tied(net: QuantizedNet) -> list[tuple[str, ...]]:
    """Return the groups of scales that additions tie together."""
    groups: list[set[str]] = []
    for node in net.body.graph.nodes:
        if node.target not in SUMS:
            continue
        read = [_read(arg) for arg in node.all_input_nodes]
        names = {name for name in (*read, _rounded(node)) if name is not None}
        if len(read) < 2 or None in read:
            continue
        apart = [group for group in groups if not group & names]
        names.update(*(group for group in groups if group & names))
        groups = [*apart, names]
    return [tuple(sorted(group)) for group in groups]


def _layers(net: QuantizedNet, added: set[str]) -> Iterator[Layer]:
    for node in net.body.graph.nodes:
        if node.target not in LAYERS:
            continue
        read, rounding = _read(node.args[0]), node.args[1]
        if read is None or rounding.target is not OPERATION:
            continue
        bias = node.args[2] if len(node.args) > 2 else None
        output = _rounded(node)
        yield Layer(
            input=read,
            weight=str(rounding.args[0].target),
            weight_scale=str(rounding.args[1].target),
            bias=None if bias is None else str(bias.target),
            output=output,
            added=output in added,
        )


def _read(node: Node) -> str | None:
    """Return the name of a rounded tensor's scale; None for a float tensor."""
    node = source(node)
    return _scale_name(node) if node.target is OPERATION else None


def _rounded(node: Node) -> str | None:
    """Return the name of the scale that rounds a result next; None if none does."""
    while node.target is not OPERATION:
        following = [user for user in node.users if user.op == "call_function"]
        if not following:
            return None
        node = following[0]
        if node.target in LAYERS or node.target in SUMS:
            return None  # read in float
    return _scale_name(node)


def _scale_name(node: Node) -> str:
    scale = node.args[1]
    assert isinstance(scale, Node)
    return str(scale.target)
