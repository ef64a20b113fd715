"""Paddings of convolutions in numbers instead of words."""

from __future__ import annotations

from typing import Any

import torch
from torch.fx import Graph, Node

_aten = torch.ops.aten


def number_paddings(graph: Graph) -> None:
    """Replace the paddings ``same`` and ``valid`` of convolutions by numbers, in place.

    Args:
        graph: Graph of torch.export. A convolution with an even kernel gets a node that pads.
    """
    for node in graph.nodes:
        if node.target is _aten.conv2d.padding:
            given: tuple[Any, ...] = node.args
            defaults = (None, None, None, [1, 1], "valid", [1, 1], 1)
            filled = given + defaults[len(given) :]
            x, weight, bias, stride, words, dilation, groups = filled
            total = _padding(weight.meta["val"].shape[2:], dilation, words)
            padding = [rows // 2 for rows in total]
            if any(rows % 2 for rows in total):
                x, padding = _padded(graph, node, x, total), [0, 0]
            node.target = _aten.conv2d.default
            node.args = (x, weight, bias, stride, padding, dilation, groups)


def _padding(kernel: tuple[int, ...], dilation: list[int], words: str) -> list[int]:
    """Return the number of rows and of columns that are added."""
    steps = [*dilation] * (1 if len(dilation) == 2 else 2)
    if words == "valid":
        return [0, 0]
    return [step * (size - 1) for step, size in zip(steps, kernel, strict=True)]


def _padded(graph: Graph, node: Node, x: Node, total: list[int]) -> Node:
    """Insert zeros around ``x``; where their number is odd, one more comes after it."""
    around = [side for count in reversed(total) for side in (count // 2, count - count // 2)]
    with graph.inserting_before(node):
        padded = graph.call_function(_aten.constant_pad_nd.default, (x, around, 0.0))
    padded.meta = {"nn_module_stack": node.meta.get("nn_module_stack")}
    return padded
