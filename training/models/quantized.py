"""Networks whose body computes in int8, made from float networks of any architecture.

The network is exported with torch.export. ``quantize_dequantize`` is put at every tensor that a
convolution, a matrix product, an addition, a product or a pooling reads. It is put once, where the
tensor is produced. Activation functions stay in float between a layer and its rounding, as engines
fuse them. Layer norms, softmax and products of attention stay in float. So do the additions of a
network with layer norms or attention, except where a layer reads a sum directly: the residual
stream loses too much in eight bits.
"""

from __future__ import annotations

import copy
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from operator import attrgetter
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import Graph, GraphModule, Node
from torch.fx.node import map_arg
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from fer_edge.errors import CheckpointError
from fer_edge.training.models.network import ExpressionNet, ModelSpec
from fer_edge.training.models.paddings import number_paddings
from fer_edge.training.models.quantize_operation import MOST, OPERATION, PER_TENSOR

_aten = torch.ops.aten
LAYERS = {_aten.conv2d.default, _aten.linear.default}
"""Operations with weights."""
SUMS = {_aten.add.Tensor, _aten.add_.Tensor}
"""Additions."""
_OTHERS = {
    _aten.mul.Tensor,
    _aten.mul_.Tensor,
    _aten.cat.default,
    _aten.mean.dim,
    _aten.adaptive_avg_pool2d.default,
    _aten.avg_pool2d.default,
    _aten.max_pool2d.default,
}
"""Operations without weights that engines run in int8."""
_SAME_NUMBERS = {
    _aten.alias.default,
    _aten.clone.default,
    _aten.contiguous.default,
    _aten.dropout.default,
    _aten.flatten.using_ints,
    _aten.permute.default,
    _aten.reshape.default,
    _aten.squeeze.dim,
    _aten.transpose.int,
    _aten.unsqueeze.default,
    _aten.view.default,
}
"""Operations that move numbers and change none: their source is rounded in their place."""
_ATTENTION = {_aten.layer_norm.default, _aten.scaled_dot_product_attention.default}

SCALES, WEIGHT_SCALES = "scales", "weight_scales"
"""Names of the two groups of scales in the graph and in a state dict."""


class QuantizedNet(nn.Module):
    """ExpressionNet whose layers compute with int8 weights and int8 activations.

    Args:
        net: Float network. Its weights are copied, batch norms folded into them.
        scales: Scale of each activation by name. None starts with 1 for all, for a caller that sets
            them or loads a state dict.

    Attributes:
        spec: Specification of the float network.
        embedding_dim: Width of the embedding.
        names: Names of the activations, in the order of the computation.

    Raises:
        CheckpointError: The names of ``scales`` are not those of the network's activations.
    """

    def __init__(self, net: ExpressionNet, scales: Mapping[str, float] | None = None) -> None:
        super().__init__()
        self.spec: ModelSpec = net.spec
        self.embedding_dim = net.embedding_dim
        size = net.spec.input.size_px
        chance = torch.Generator().manual_seed(0)  # never the caller's
        example = torch.randn(2, net.spec.input.channels, size, size, generator=chance)
        self.body = _exported(_folded(net, example), example)
        points, weights = _points(self.body), _weights(self.body)
        self.names: tuple[str, ...] = tuple(points)
        self.body.add_module(SCALES, _parameters(torch.ones(()) for _ in points))
        largest = (_largest(self.body.get_parameter(name)) for name in weights)
        self.body.add_module(WEIGHT_SCALES, _parameters(value / MOST for value in largest))
        self._weights = tuple(weights)
        _insert(self.body, list(points.values()), weights)
        if scales is not None:
            self._set(scales)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits ``[N, C]`` and embedding ``[N, D]`` of normalised ``[N, c, S, S]``."""
        logits, embedding = self.body(x)
        return logits, embedding

    @property
    def scales(self) -> list[nn.Parameter]:
        """Scale of each activation, float32 scalars."""
        return list(self.body.get_submodule(SCALES).parameters())

    def activation_scales(self) -> dict[str, float]:
        """Return the scale of each activation by name."""
        return {n: float(s) for n, s in zip(self.names, self.scales, strict=True)}

    def weight_names(self) -> dict[str, nn.Parameter]:
        """Return the scales of each rounded weight's output channels by the weight's name."""
        scales = self.body.get_submodule(WEIGHT_SCALES).parameters()
        return dict(zip(self._weights, scales, strict=True))

    def weights(self) -> list[tuple[nn.Parameter, nn.Parameter]]:
        """Return each rounded weight with the scales of its output channels."""
        return [(self.body.get_parameter(n), scale) for n, scale in self.weight_names().items()]

    def _set(self, scales: Mapping[str, float]) -> None:
        if list(scales) != list(self.names):
            raise CheckpointError(
                f"expected scales of the {len(self.names)} activations of {self.spec.backbone} "
                f"({', '.join(self.names[:3])}, ...), got {len(scales)} others. Quantise the "
                "checkpoint again: fer-edge quantize CHECKPOINT --data FACES -o CHECKPOINT8"
            )
        with torch.no_grad():
            for parameter, value in zip(self.scales, scales.values(), strict=True):
                parameter.fill_(value)


def fold_batch_norms(net: nn.Module) -> nn.Module:
    """Fold each batch norm into its convolution or linear layer, in place."""
    children = list(net.named_children())
    for (name, layer), (after, norm) in pairwise(children):
        parent, place = net, name
        if isinstance(layer, nn.Sequential) and len(layer):  # a deep stem ends with a convolution
            parent, place, layer = layer, str(len(layer) - 1), layer[-1]
        if type(layer) is nn.Conv2d and isinstance(norm, nn.BatchNorm2d):
            fused: nn.Module = fuse_conv_bn_eval(layer, norm)
        elif type(layer) is nn.Linear and isinstance(norm, nn.BatchNorm1d):
            fused = fuse_linear_bn_eval(layer, norm)
        else:
            continue
        setattr(parent, place, fused)
        # timm's BatchNormAct2d holds the activation that follows.
        setattr(net, after, getattr(norm, "act", nn.Identity()))
    for child in net.children():
        fold_batch_norms(child)
    return net


def _folded(net: nn.Module, example: Tensor) -> nn.Module:
    """Return a copy with folded batch norms. It is a plain copy if layers run in another order."""
    copied = copy.deepcopy(net).cpu().eval()
    folded = fold_batch_norms(copy.deepcopy(copied))
    with torch.no_grad():
        expected, found = copied(example)[0], folded(example)[0]
    largest = float(expected.abs().max())
    if not math.isfinite(largest):
        return copied  # nothing to compare
    same = torch.allclose(expected, found, rtol=1e-3, atol=1e-3 * largest)
    return folded if same else copied


def _parameters(values: Iterable[Tensor]) -> nn.ParameterList:
    return nn.ParameterList(nn.Parameter(value, requires_grad=False) for value in values)


def _exported(net: nn.Module, example: Tensor) -> GraphModule:
    batch = torch.export.Dim("batch", min=1)
    program = torch.export.export(net, (example,), dynamic_shapes={"x": {0: batch}})
    module = program.module(check_guards=False)
    number_paddings(module.graph)
    _compute_weights(module)
    # A copy: torch.export's own module can be neither trained nor exported again.
    return GraphModule(module, module.graph)


def _compute_weights(module: GraphModule) -> None:
    """Replace each weight and bias that is computed from parameters alone by its value.

    Weight-standardised layers compute theirs at each call.
    """
    graph = module.graph
    varying = _varying(graph)
    done: dict[Node, Node] = {}
    for layer in [node for node in graph.nodes if node.target in LAYERS]:
        for node in layer.args[1:3]:
            if not isinstance(node, Node) or node.op == "get_attr" or node in varying:
                continue
            if node not in done:
                name = f"computed_{len(done)}"
                module.register_parameter(name, nn.Parameter(_value(module, node)))
                with graph.inserting_before(node):
                    done[node] = graph.get_attr(name)
            layer.replace_input_with(node, done[node])
    graph.eliminate_dead_code()


@torch.no_grad()
def _value(module: GraphModule, node: Node) -> Tensor:
    """Return the value of a node that does not depend on the input."""
    if node.op == "get_attr":
        held: Tensor = attrgetter(str(node.target))(module)
        return held.detach().clone()
    args, kwargs = map_arg((node.args, node.kwargs), lambda each: _value(module, each))
    value: Tensor = node.target(*args, **kwargs).contiguous()  # type: ignore[operator]
    return value


def _points(module: GraphModule) -> dict[str, Node]:
    """Return the nodes to round, by names of their places in the network."""
    graph = module.graph
    quantised = LAYERS | _OTHERS
    if not any(node.target in _ATTENTION for node in graph.nodes):
        quantised = quantised | SUMS
    varying = _varying(graph)
    sources: dict[Node, None] = {}
    for node in graph.nodes:
        if node.target not in quantised:
            continue
        read = [arg for arg in _tensors(node) if arg in varying]
        if node.target not in LAYERS and len(read) < len(_tensors(node)):
            continue  # a product with a constant, as a layer scale: engines fold it
        for arg in read[:1] if node.target in LAYERS else read:
            sources[source(arg)] = None
    named: dict[str, Node] = {}
    seen: Counter[str] = Counter()
    for node in graph.nodes:
        if node in sources:
            name = _name(node)
            seen[name] += 1
            named[name if seen[name] == 1 else f"{name}.{seen[name]}"] = node
    return named


def _tensors(node: Node) -> list[Node]:
    flat = [a for arg in node.args for a in (arg if isinstance(arg, list | tuple) else [arg])]
    return [arg for arg in flat if isinstance(arg, Node)]


def _varying(graph: Graph) -> set[Node]:
    """Return the nodes that depend on the input of the network."""
    varying: set[Node] = set()
    for node in graph.nodes:
        if node.op == "placeholder" or any(n in varying for n in node.all_input_nodes):
            varying.add(node)
    return varying


def source(node: Node) -> Node:
    """Return the node that made the numbers that a node passes on."""
    while node.target in _SAME_NUMBERS:
        node = node.all_input_nodes[0]
    return node


def conv2d_arguments(args: Sequence[Any]) -> tuple[Any, ...]:
    """Return the arguments of a conv2d node with its defaults filled in.

    Args:
        args: Arguments of the node; those that have their default may be absent.

    Returns:
        Input, weight, bias, stride, padding, dilation (pairs), groups.
    """
    defaults = (None, None, None, [1, 1], [0, 0], [1, 1], 1)
    given = (*args, *defaults[len(args) :])
    pair = [[v, v] if isinstance(v, int) else [*v] * (2 if len(v) == 1 else 1) for v in given[3:6]]
    return (*given[:3], *pair, given[6])


def _name(node: Node) -> str:
    if node.op == "placeholder":
        return "input"
    stack = node.meta.get("nn_module_stack") or {"": ("", None)}
    path = str(list(stack.values())[-1][0])
    operation = node.target.__name__.split(".")[0].rstrip("_")  # type: ignore[union-attr]
    return f"{path}:{operation}" if path else operation


def _weights(module: GraphModule) -> dict[str, list[Node]]:
    """Return the layers of each weight by the weight's name; layers may share one."""
    layers: dict[str, list[Node]] = {}
    for node in module.graph.nodes:
        if node.target in LAYERS and isinstance(node.args[1], Node):
            weight = node.args[1]
            if weight.op == "get_attr":
                layers.setdefault(str(weight.target), []).append(node)
    return layers


def _largest(weight: Tensor) -> Tensor:
    """Return the largest absolute value of each output channel, at least a tiny number."""
    return weight.detach().abs().flatten(1).amax(1).clamp_min(2.0**-20)


def _insert(
    module: GraphModule, points: Sequence[Node], weights: Mapping[str, Sequence[Node]]
) -> None:
    """Insert the rounding operation; its scales are parameters of the graph."""
    graph = module.graph
    for number, node in enumerate(points):
        rounded = _round(graph, node, f"{SCALES}.{number}", PER_TENSOR)
        for user in [*node.users]:
            if user is not rounded:
                user.replace_input_with(node, rounded)
    for number, layers in enumerate(weights.values()):
        weight = layers[0].args[1]
        assert isinstance(weight, Node)
        rounded = _round(graph, weight, f"{WEIGHT_SCALES}.{number}", 0)
        for layer in layers:
            layer.replace_input_with(layer.args[1], rounded)  # type: ignore[arg-type]
    graph.lint()
    module.recompile()


def _round(graph: Graph, node: Node, scale: str, axis: int) -> Node:
    """Insert the rounding of a node after it."""
    with graph.inserting_after(node):
        read = graph.get_attr(scale)
    with graph.inserting_after(read):
        return graph.call_function(OPERATION, (node, read, axis))
