"""Networks whose body computes in int8."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from fer_edge.errors import CheckpointError
from fer_edge.training.models.network import ExpressionNet, InputSpec, ModelSpec
from fer_edge.training.models.quantize_operation import OPERATION
from fer_edge.training.models.quantized import QuantizedNet, fold_batch_norms
from fer_edge.training.quantization.exact import ExactScales

LAYERS = ("aten.conv2d.default", "aten.linear.default")
BACKBONES = {
    "test_efficientnet": {},  # SiLU and squeeze-excite
    "test_resnet": {},
    "test_byobnet": {},
    "test_vit": {"img_size": 64},
    "swin_base_patch4_window7_224": {  # unbinds queries, keys and values
        "img_size": 64,
        "window_size": 4,
        "depths": (2, 2),
        "num_heads": (2, 4),
        "embed_dim": 32,
    },
    "mobilenetv4_conv_small_050": {},
    "test_nfnet": {},  # standardises its weights at each call
    "mobilenetv3_small_050": {},  # hard swish, hard sigmoid, features after pooling
}


def network(backbone: str, **arguments: Any) -> ExpressionNet:
    torch.manual_seed(0)
    spec = ModelSpec(
        backbone,
        ("anger", "fear", "neutral"),
        InputSpec(64, "grey", (0.5,), (0.25,)),
        dropout=0.2,
        backbone_args=arguments,
        neck=("linear 16", "batchnorm", "relu"),
    )
    net = ExpressionNet(spec).eval()
    for layer in net.modules():  # as after training: a batch norm that changes something
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.running_var, 0.5, 2)
            nn.init.normal_(layer.running_mean, std=0.2)
    return net


def measured(net: QuantizedNet, x: torch.Tensor) -> QuantizedNet:
    """Give each activation the scale of its largest value."""
    largest = {}

    class Watch(torch.fx.Interpreter):
        def call_function(self, target: Any, args: Any, kwargs: Any) -> Any:
            if target is OPERATION and args[2] == -1:
                largest[len(largest)] = args[0].abs().max() / 127
                return args[0]
            return super().call_function(target, args, kwargs)

    with torch.no_grad():
        Watch(net.body).run(x)
        for number, scale in enumerate(net.scales):
            scale.copy_(largest[number].clamp_min(1e-6))
    return net


@pytest.mark.parametrize(("backbone", "arguments"), BACKBONES.items())
def test_every_layer_reads_int8_and_the_answers_are_near(backbone: str, arguments: Any) -> None:
    net = network(backbone, **arguments)
    x = torch.randn(6, 1, 64, 64)
    quantised = measured(QuantizedNet(net), x)
    with torch.no_grad():
        logits, embedding = quantised(x)
        expected, features = net(x)
    assert embedding.shape == features.shape
    error = (logits - expected).norm() / expected.norm()
    assert 0 < error < 0.25, f"{error:.3f}"
    layers = [n for n in quantised.body.graph.nodes if str(n.target) in LAYERS]
    assert layers
    for layer in layers:
        assert layer.args[1].target is OPERATION
        source = layer.args[0]
        while source.target is not OPERATION:
            source = source.all_input_nodes[0]


def test_the_residual_stream_of_attention_stays_float() -> None:
    names = QuantizedNet(network("test_vit", img_size=64)).names
    assert not [name for name in names if name.endswith(":add")]
    assert [n for n in QuantizedNet(network("test_resnet")).names if "add" in n or "act" in n]


def test_names_and_scales_make_the_same_network_again() -> None:
    net = network("test_efficientnet")
    first = QuantizedNet(net)
    with torch.no_grad():
        for number, scale in enumerate(first.scales):
            scale.fill_(0.01 * (number + 1))
    second = QuantizedNet(net, first.activation_scales())
    second.load_state_dict(first.state_dict())
    x = torch.randn(2, 1, 64, 64)
    assert torch.equal(first(x)[0], second(x)[0])
    assert len(set(first.names)) == len(first.names)
    with pytest.raises(CheckpointError, match="fer-edge quantize"):
        QuantizedNet(net, {"input": 1.0})


@pytest.mark.parametrize("backbone", ["test_efficientnet", "resnet10t"])  # resnet10t: a deep stem
def test_folding_keeps_the_answers(backbone: str) -> None:
    net = network(backbone)
    x = torch.randn(2, 1, 64, 64)
    with torch.no_grad():
        expected = net(x)[0]
        folded = fold_batch_norms(net)(x)[0]
    torch.testing.assert_close(folded, expected, rtol=1e-4, atol=1e-4)
    assert not [m for m in net.modules() if isinstance(m, nn.BatchNorm2d | nn.BatchNorm1d)]


def test_layers_in_another_order_than_they_are_listed_stay_unfolded() -> None:
    class Odd(nn.Module):
        """Lists a convolution before a norm that does not follow it."""

        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(1, 4, 3, padding=1)
            self.norm = nn.BatchNorm2d(1)
            self.last = nn.Conv2d(4, 4, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.last(self.conv(self.norm(x))).mean((2, 3))

    net = network("test_resnet")
    net.backbone, net.neck, net.head = Odd(), nn.Identity(), nn.Linear(4, 3)  # type: ignore[assignment]
    nn.init.constant_(net.backbone.norm.running_mean, 3)
    x = torch.randn(4, 1, 64, 64)
    quantised = measured(QuantizedNet(net.eval()), x)
    expected, found = net(x)[0], quantised(x)[0]
    assert float((found - expected).norm() / expected.norm()) < 0.1


def test_paddings_in_words_are_quantised() -> None:
    net = network("test_resnet")
    net.backbone = nn.Sequential(
        nn.Conv2d(1, 4, (3, 4), padding="same", dilation=(2, 1)),
        nn.Conv2d(4, 4, 5, padding="same", groups=2),
        nn.Conv2d(4, 4, 3, stride=2, padding="valid"),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    )
    net.neck, net.head = nn.Identity(), nn.Linear(4, 3)  # type: ignore[assignment]
    x = torch.randn(4, 1, 64, 64)
    quantised = measured(QuantizedNet(net.eval()), x)
    assert len(quantised.weights()) == 4
    assert not [n for n in quantised.body.graph.nodes if "conv2d.padding" in str(n.target)]
    with torch.no_grad():
        expected, found = net(x)[0], quantised(x)[0]
    assert 0 < float((found - expected).norm() / expected.norm()) < 0.05
    ExactScales(quantised).set_weights()


def test_layers_that_share_a_computed_weight_share_its_value() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(4, 4, 3, 3))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            weight = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
            x = torch.nn.functional.conv2d(x.expand(-1, 4, -1, -1), weight)
            return torch.nn.functional.conv2d(x, weight, weight.sum((1, 2, 3))).mean((2, 3))

    net = network("test_resnet")
    net.backbone, net.neck, net.head = Twice(), nn.Identity(), nn.Linear(4, 3)  # type: ignore[assignment]
    x = torch.randn(4, 1, 64, 64)
    quantised = measured(QuantizedNet(net.eval()), x)
    assert len(quantised.weights()) == 2
    assert len(ExactScales(quantised).layers) == 3
    assert all(weight.requires_grad for weight, _ in quantised.weights())


def test_weights_and_scales_learn() -> None:
    net = QuantizedNet(network("test_resnet")).train()
    for scale in net.scales:
        scale.requires_grad_(True)
    net(torch.randn(2, 1, 64, 64))[0].square().sum().backward()
    assert all(weight.grad is not None for weight, _ in net.weights())
    assert any(float(scale.grad) != 0 for scale in net.scales if scale.grad is not None)
