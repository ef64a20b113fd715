"""LoRA additions start at zero and merge into the weights."""

from __future__ import annotations

import torch
from torch import nn

from fer_edge.labels import EMOTIONS
from fer_edge.training.config.schema import Phase
from fer_edge.training.models.freeze import parameter_counts, prepare
from fer_edge.training.models.lora import merged
from fer_edge.training.models.network import ExpressionNet, InputSpec, ModelSpec

RGB = InputSpec(48, "rgb", (0.5,) * 3, (0.25,) * 3)
VIT = ModelSpec("test_vit", EMOTIONS, RGB, backbone_args={"img_size": 48})


def test_lora_starts_as_the_network_and_merges_into_one_that_answers_alike() -> None:
    torch.manual_seed(0)
    net = ExpressionNet(VIT).eval()
    x = torch.randn(3, 3, 48, 48)
    plain = net(x)[0]
    names = set(net.state_dict())
    prepare(net, Phase("lora 4", 1, 0.1), seed=0)
    assert torch.equal(net(x)[0], plain)
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            if name.endswith(".b"):
                parameter.normal_(std=0.1)
    changed = net(x)[0]
    assert not torch.allclose(changed, plain, atol=1e-2)
    alone = merged(net)
    assert set(alone.state_dict()) == names
    torch.testing.assert_close(alone(x)[0], changed, rtol=1e-4, atol=1e-5)
    assert torch.equal(net(x)[0], changed)  # the one in training is as it was
    prepare(net, Phase("full", 1, 0.1), seed=0)  # the next phase
    assert set(net.state_dict()) == names
    assert all(p.requires_grad for p in net.parameters())
    torch.testing.assert_close(net(x)[0], changed, rtol=1e-4, atol=1e-5)


def test_lora_adds_its_rank_times_the_widths() -> None:
    net = ExpressionNet(VIT)
    linear = [m for m in net.backbone.modules() if isinstance(m, nn.Linear)]
    added = sum(3 * (m.in_features + m.out_features) for m in linear)
    _, (count,) = parameter_counts(VIT, [Phase("lora 3", 1, 0.1)])
    assert count == added + sum(p.numel() for p in net.head.parameters())
