"""Reconstruction: int8 weights and biases fitted to the float network layer by layer.

The nearest step of each weight is not the best rounding of a layer. The weights that are not
rounded yet can make up for the errors of those that are, as far as their inputs are correlated
(GPTQ, Frantar et al., 2022, https://arxiv.org/abs/2210.17323). The bias then takes the mean error
of each channel (Nagel et al., 2019, https://arxiv.org/abs/1906.04721).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.fx import Interpreter, Node
from torch.nn import functional

from fer_edge.progress import Step, silent
from fer_edge.training.models.quantize_operation import LEAST_WEIGHT, MOST, OPERATION
from fer_edge.training.models.quantized import LAYERS, QuantizedNet, conv2d_arguments
from fer_edge.training.quantization.exact import ExactScales
from fer_edge.training.quantization.ranges import step_between

_ROWS = 1 << 18
"""Most positions of a layer's input that are used, spread over all faces."""
_FACES = 8
"""Number of faces whose input vectors are in memory at a time."""
_DAMPING = 0.01
"""Share (0..1) of a Gram matrix's mean diagonal added to its diagonal. GPTQ does the same."""
_LEAST_DIAGONAL = 1e-12
"""Added to a Gram matrix's diagonal, for inputs that are always 0."""
_BLOCK = 128
"""Columns of a weight that are rounded before their errors reach the columns after them."""


@torch.no_grad()
def reconstruct(net: QuantizedNet, faces: Tensor, step: Step = silent) -> None:
    """Fit the weights and biases of an int8 network to its outputs in float arithmetic.

    Weights move to steps of their scales, and biases to whole steps of the sums. Scales stay.

    Args:
        net: Network with its scales set and float weights.
        faces: Normalised faces, float32 ``[N, C, S, S]``, on the device of ``net``.
        step: Receives progress.
    """
    before = _Means(net)
    before.run(faces)
    _Fit(net, before.means, step).run(faces)


def round_with_feedback(weight: Tensor, scale: Tensor, gram: Tensor) -> Tensor:
    """Round a weight column by column; columns after it make up for each error.

    Args:
        weight: Weight, float32 ``[G, O, D]``: groups, output channels, inputs.
        scale: Scale of each output channel, float32 ``[G, O]``.
        gram: Sums of products of the inputs, float32 ``[G, D, D]``.

    Returns:
        The weight in whole steps of its scales.
    """
    diagonal = gram.diagonal(dim1=1, dim2=2)
    damping = _DAMPING * diagonal.mean(1, keepdim=True) + _LEAST_DIAGONAL
    order = diagonal.argsort(dim=1, descending=True, stable=True)
    columns = order[:, None, :].expand_as(weight)
    left = weight.gather(2, columns)
    size = gram.shape[1]
    gram = gram + torch.diag_embed(damping.expand_as(diagonal))
    gram = gram.gather(1, order[:, :, None].expand_as(gram))
    gram = gram.gather(2, order[:, None, :].expand_as(gram))
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(gram))
    spread = torch.linalg.cholesky(inverse, upper=True)
    rounded = torch.zeros_like(left)
    for first in range(0, size, _BLOCK):
        last = min(first + _BLOCK, size)
        errors = torch.zeros_like(left[:, :, first:last])
        for column in range(first, last):
            value = left[:, :, column]
            steps = (value / scale).round().clamp(LEAST_WEIGHT, MOST)
            rounded[:, :, column] = steps * scale
            error = (value - steps * scale) / spread[:, column, column, None]
            errors[:, :, column - first] = error
            rest = spread[:, None, column, column + 1 : last]
            left[:, :, column + 1 : last] -= error[:, :, None] * rest
        left[:, :, last:] -= errors @ spread[:, first:last, last:]
    return torch.zeros_like(rounded).scatter(2, columns, rounded)


class _Means(Interpreter):
    """Runs the float network and averages each layer's output channels."""

    def __init__(self, net: QuantizedNet) -> None:
        super().__init__(net.body)
        self.means: dict[str, Tensor] = {}

    def run_node(self, n: Node) -> Any:
        """Run a node without rounding."""
        if n.target is OPERATION:
            return self.env[n.all_input_nodes[0]]
        value = super().run_node(n)
        if n.target in LAYERS:
            self.means[n.name] = _channel_means(n, value)
        return value


class _Fit(Interpreter):
    """Runs the network in int8 and fits each layer before its output goes on."""

    def __init__(self, net: QuantizedNet, means: Mapping[str, Tensor], step: Step) -> None:
        super().__init__(net.body)
        self._means, self._step = means, step
        self._layers = {layer.weight: layer for layer in ExactScales(net).layers}
        self._count = len(self._layers)

    def run_node(self, n: Node) -> Any:
        """Run a node; fit it first if it is a layer."""
        rounding = n.args[1] if n.target in LAYERS else None
        if not isinstance(rounding, Node) or rounding.target is not OPERATION:
            return super().run_node(n)
        layer = self._layers.pop(str(rounding.all_input_nodes[0].target), None)
        if layer is None:  # layers that share a weight: the first has fitted it
            return super().run_node(n)
        self._step("Fitting layers", self._count - len(self._layers), self._count)
        weight, scale = self._parameter(layer.weight), self._parameter(layer.weight_scale)
        _fit_weight(n, self.env[n.all_input_nodes[0]], weight, scale)
        self.env[rounding] = OPERATION(weight, scale, 0)
        value = super().run_node(n)
        if layer.bias is None:
            return value
        bias, step = self._parameter(layer.bias), self._parameter(layer.input) * scale
        moved = ((bias + self._means[n.name] - _channel_means(n, value)) / step).round() * step
        change = moved - bias
        bias.copy_(moved)
        return value + change.view(-1, *[1] * (value.ndim - 2 if _is_convolution(n) else 0))

    def _parameter(self, name: str) -> Tensor:
        parameter: Tensor = self.fetch_attr(name)
        return parameter


def _is_convolution(node: Node) -> bool:
    return node.target is torch.ops.aten.conv2d.default


def _channel_means(node: Node, value: Tensor) -> Tensor:
    channel = 1 if _is_convolution(node) else value.ndim - 1
    return value.mean([d for d in range(value.ndim) if d != channel])


def _fit_weight(node: Node, x: Tensor, weight: Tensor, scale: Tensor) -> None:
    groups = conv2d_arguments(node.args)[6] if _is_convolution(node) else 1
    wide = weight.view(groups, len(weight) // groups, -1)
    gram = wide.new_zeros(groups, wide.shape[2], wide.shape[2])
    for few in torch.split(x, _FACES):
        rows = _inputs(node, few, weight)
        rows = rows[:: step_between(len(rows), _ROWS * len(few) // len(x))]
        rows = rows.reshape(-1, groups, wide.shape[2])
        gram += torch.einsum("ngi,ngj->gij", rows, rows)
    fitted = round_with_feedback(wide, scale.view(groups, -1), gram)
    weight.copy_(fitted.view_as(weight))


def _inputs(node: Node, x: Tensor, weight: Tensor) -> Tensor:
    """Return the vectors that a layer multiplies by its weight, one in each row."""
    if not _is_convolution(node):
        return x.reshape(-1, x.shape[-1])
    _, _, _, stride, padding, dilation, _ = conv2d_arguments(node.args)
    patches = functional.unfold(x, tuple(weight.shape[2:]), dilation, padding, stride)
    return patches.transpose(1, 2).flatten(0, 1)
