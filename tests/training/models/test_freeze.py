"""A phase trains the stated parameters, and no others change."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from fer_edge.errors import RecipeError
from fer_edge.labels import EMOTIONS
from fer_edge.training.config.schema import Phase
from fer_edge.training.models.freeze import (
    blocks,
    freeze,
    parameter_counts,
    prepare,
    train_mode,
    trainable_count,
    trained_at,
)
from fer_edge.training.models.network import ExpressionNet, InputSpec, ModelSpec

RGB = InputSpec(48, "rgb", (0.5,) * 3, (0.25,) * 3)
VIT = ModelSpec("test_vit", EMOTIONS, RGB, backbone_args={"img_size": 48})
CONV = ModelSpec("test_efficientnet", EMOTIONS, RGB, neck=("linear 32", "batchnorm"))


def trained(net: ExpressionNet) -> set[str]:
    return {name for name, p in net.named_parameters() if p.requires_grad}


@pytest.mark.parametrize(
    ("backbone", "count", "first", "last"),
    [
        ("vit_tiny_patch16_224", 12, "blocks.0", "blocks.11"),
        ("gcvit_small", 31, "stages.0.blocks.0", "stages.3.blocks.4"),
        ("swin_base_patch4_window7_224", 24, "layers.0.blocks.0", "layers.3.blocks.1"),
        ("tf_efficientnetv2_s", 40, "blocks.0.0", "blocks.5.14"),
        ("fer_resnet", 5, "stages.0.0", "stages.2.1"),
        ("cnn48", 0, "", ""),
    ],
)
def test_blocks_are_found_in_every_family(backbone: str, count: int, first: str, last: str) -> None:
    with torch.device("meta"):
        found = blocks(ExpressionNet(ModelSpec(backbone, EMOTIONS, RGB)).backbone)
    assert len(found) == count
    assert found[:1] + found[-1:] == ([first, last] if count else [])


def test_last_blocks_take_what_comes_after_them_along() -> None:
    net = ExpressionNet(VIT)
    freeze(net, "last 2")
    parts = {".".join(name.split(".")[:3]) for name in trained(net)}
    assert {p for p in parts if p.startswith("backbone.blocks")} == {
        "backbone.blocks.4",
        "backbone.blocks.5",
    }
    assert "backbone.norm.weight" in parts
    assert any(part.startswith("head") for part in parts)


@pytest.mark.parametrize("train", ["full", "head", "last 1", "layers 3", "stage-ends 2"])
def test_setting_one_forgets_the_other(train: str) -> None:
    direct, after = ExpressionNet(CONV), ExpressionNet(CONV)
    freeze(direct, train)
    for other in ("head", "layers 9", "full", train):
        freeze(after, other)
    assert trained(after) == trained(direct)


@pytest.mark.parametrize("train", ["head", "last 1", "layers 3", "stage-ends 2", "lora 2"])
def test_a_step_moves_what_is_trained_and_no_statistics_of_the_rest(train: str) -> None:
    net = ExpressionNet(VIT if train.startswith("lora") else CONV)
    prepare(net, Phase(train, 1, 0.1), seed=0)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    train_mode(net)
    for _ in range(2):  # LoRA's A moves in the second step alone: B was zero
        logits, _ = net(torch.randn(4, 3, 48, 48))
        logits.square().sum().backward()
        torch.optim.SGD([p for p in net.parameters() if p.requires_grad], 0.1).step()
    moved = {name for name, value in net.state_dict().items() if not value.equal(before[name])}
    norms = {
        f"{name}.{buffer}"
        for name, module in net.named_modules()
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d)
        if next(module.parameters()).requires_grad
        for buffer in ("running_mean", "running_var", "num_batches_tracked")
    }
    assert moved <= trained(net) | norms
    assert {name for name in moved if name not in norms} >= {"head.1.weight", "head.1.bias"}
    assert len([name for name in moved if name in trained(net)]) > 0.5 * len(trained(net))


def test_everything_trained_is_plain_training_mode() -> None:
    net = ExpressionNet(CONV)
    train_mode(net)
    assert all(module.training for module in net.modules())


def test_gradual_goes_from_the_head_to_everything() -> None:
    net = ExpressionNet(VIT)
    phase = Phase("gradual 2", 20, 0.1)
    seen = [trained_at(phase, epoch, net.backbone) for epoch in range(phase.epochs)]
    assert seen[:5] == ["head", "head", "last 1", "last 1", "last 2"]
    assert seen[12:16] == ["last 6", "last 6", "full", "full"]
    prepare(net, phase, seed=0)
    assert trainable_count(net) == parameter_counts(VIT, [Phase("full", 1, 0.1)])[0]


@pytest.mark.parametrize(
    ("spec", "train", "says"),
    [
        (VIT, "last 7", "at most 6 blocks"),
        (VIT, "stage-ends 2", "no stages"),
        (CONV, "layers 500", "layers for test_efficientnet, got 500"),
        (CONV, "stage-ends 50", "stages"),
        (CONV, "lora 2", "no linear layers"),
        (ModelSpec("cnn48", EMOTIONS, RGB), "last 1", "cnn48 has no blocks.*layers N"),
    ],
)
def test_what_a_network_does_not_have_is_said(spec: ModelSpec, train: str, says: str) -> None:
    with pytest.raises(RecipeError, match=says):
        parameter_counts(spec, [Phase(train, 1, 0.1)])
