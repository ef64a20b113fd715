"""Deploy graph of a checkpoint as a file that LiteRT's converter reads."""

from __future__ import annotations

import copy
import io
import warnings

import torch
from torch import Tensor
from torch.ao.quantization.fx import _decomposed as _decomposed  # registers the operations
from torch.fx import Graph, Node
from torch.nn.functional import conv2d

from fer_edge.errors import ConversionError
from fer_edge.training.checkpoint import Checkpoint
from fer_edge.training.deploy import DeployModule
from fer_edge.training.models.quantize_operation import MOST, OPERATION, PER_TENSOR, least
from fer_edge.training.models.quantized import QuantizedNet

_rounding = torch.ops.quantized_decomposed
INPUT = "images"


def program(checkpoint: Checkpoint) -> bytes:
    """Export the deploy graph for one face with torch.export.

    Args:
        checkpoint: Checkpoint; a quantised one keeps its own scales.

    Returns:
        A ``.pt2`` archive: the graph in JSON, the weights as raw bytes.

    Raises:
        ConversionError: torch cannot export the network.
    """
    size = checkpoint.spec.input.size_px
    example = torch.zeros(1, size, size, 3, dtype=torch.uint8)
    archive = io.BytesIO()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            module = ChannelsLastDeployModule(checkpoint)
            if isinstance(module.network, QuantizedNet):
                module.network = _rounded_by_torch(module.network)
            exported = torch.export.export(module, (), {INPUT: example})
            for node in exported.graph.nodes:  # paths of this machine
                node.meta.pop("stack_trace", None)
            torch.export.save(exported, archive)
    except Exception as error:  # torch raises many kinds, none of them ours
        raise ConversionError(
            f"torch could not export {checkpoint.spec.backbone}: {error}"
        ) from error
    return archive.getvalue()


class ChannelsLastDeployModule(DeployModule):
    """Deployed graph for LiteRT, whose tensors have channels last.

    Colour is one 1x1 convolution: XNNPACK runs it, and it has no shape that depends on the batch.
    """

    colours: Tensor

    def __init__(self, checkpoint: Checkpoint) -> None:
        super().__init__(checkpoint)
        swapped = torch.eye(3).flip(0).view(3, 3, 1, 1)  # BGR to RGB, exactly
        weight = self.grey.view(1, 3, 1, 1) if self.is_grey else swapped
        self.register_buffer("colours", weight, persistent=False)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        planes = images.to(torch.float32).permute(0, 3, 1, 2)
        return self.answer(self.whole(conv2d(planes, self.colours)))


def _rounded_by_torch(net: QuantizedNet) -> QuantizedNet:
    """Return a copy whose rounding is torch's pair of operations, which LiteRT's converter reads.

    Each scale becomes a number of the graph.
    """
    body = copy.deepcopy(net.body)
    graph: Graph = body.graph
    for node in list(graph.nodes):
        if node.target is not OPERATION:
            continue
        value, read, axis = node.args
        scale = body.get_parameter(read.target)
        with graph.inserting_before(node):
            if axis == PER_TENSOR:
                how = (float(scale), 0, least(axis), MOST, torch.int8)
                rounded = _pair(graph, value, how, "per_tensor")
            else:
                zeros = f"zeros_{read.target.replace('.', '_')}"
                body.register_buffer(zeros, torch.zeros(len(scale), dtype=torch.int64))
                places = (graph.get_attr(zeros), axis, least(axis), MOST, torch.int8)
                rounded = _pair(graph, value, (read, *places), "per_channel")
        if "val" in value.meta:  # a weight has none
            rounded.meta["val"] = value.meta["val"]
        node.replace_all_uses_with(rounded)
        graph.erase_node(node)
    for node in list(graph.nodes):
        if node.target is torch.ops.aten.cat.default:
            _add_in_place_of_joining(graph, node)
    graph.eliminate_dead_code()
    body.recompile()
    copied = copy.copy(net)
    copied._modules = {**net._modules, "body": body}
    return copied


def _add_in_place_of_joining(graph: Graph, node: Node) -> None:
    """Replace a concatenation by a sum of its zero-padded parts.

    LiteRT's converter gives all parts of a concatenation the scale of one of them. The padding and
    the sum are exact, and leave each part its own.
    """
    parts, dim = node.args[0], node.args[1] if len(node.args) > 1 else 0
    assert isinstance(parts, (list, tuple))
    assert isinstance(dim, int)
    shapes = [part.meta["val"].shape for part in parts]  # type: ignore[union-attr]
    sides = [int(shape[dim]) for shape in shapes]
    inner = len(shapes[0]) - 1 - dim % len(shapes[0])  # dimensions after the one that grows
    with graph.inserting_before(node):
        padded = [
            graph.call_function(
                torch.ops.aten.constant_pad_nd.default,
                (part, [0, 0] * inner + [sum(sides[:i]), sum(sides[i + 1 :])]),
            )
            for i, part in enumerate(parts)
        ]
        joined = padded[0]
        for part in padded[1:]:
            joined = graph.call_function(torch.ops.aten.add.Tensor, (joined, part))
    node.replace_all_uses_with(joined)
    graph.erase_node(node)


def _pair(graph: Graph, value: Node, how: tuple[object, ...], kind: str) -> Node:
    quantize = getattr(_rounding, f"quantize_{kind}").default
    dequantize = getattr(_rounding, f"dequantize_{kind}").default
    rounded = graph.call_function(quantize, (value, *how))  # type: ignore[arg-type]
    return graph.call_function(dequantize, (rounded, *how))  # type: ignore[arg-type]
