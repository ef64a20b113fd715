"""Operations of a network, and the processor's peak."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from fer_edge.benchmarks.studies.peak import operations, peak_per_s, product
from fer_edge.labels import EMOTIONS
from fer_edge.training.checkpoint import Checkpoint
from fer_edge.training.deploy import DeployModule
from fer_edge.training.models.network import ExpressionNet, InputSpec, ModelSpec


def counted_by_hand(module: DeployModule) -> int:
    """Twice the multiplications of each convolution and linear layer, by their textbook formula."""
    found = []

    def note(layer: nn.Module, _: tuple[Tensor, ...], output: Tensor) -> None:
        weight = layer.weight
        assert isinstance(weight, Tensor)
        found.append(2 * output.numel() * weight[0].numel())

    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            layer.register_forward_hook(note)
    with torch.no_grad():
        module(torch.zeros(1, module.size_px, module.size_px, 3, dtype=torch.uint8))
    return sum(found)


def deployed(backbone: str, size_px: int, colour: str = "rgb") -> DeployModule:
    channels = 3 if colour == "rgb" else 1
    inputs = InputSpec(size_px, colour, (0.5,) * channels, (0.5,) * channels)
    return DeployModule(Checkpoint(ExpressionNet(ModelSpec(backbone, EMOTIONS, inputs)).eval()))


@pytest.mark.parametrize("backbone", ["cnn48", "test_byobnet", "mobilenetv2_050"])
def test_convolutions_are_counted(backbone: str) -> None:
    module = deployed(backbone, 48)
    assert operations(module) == counted_by_hand(module)


def test_grey_costs_three_multiplications_a_pixel() -> None:
    module = deployed("test_byobnet", 48, "grey")
    assert operations(module) == counted_by_hand(module) + 2 * 3 * 48 * 48


def test_attention_is_counted() -> None:
    module = deployed("test_vit", 160)
    vit = module.network.backbone
    tokens, width = 101, vit.embed_dim  # type: ignore[union-attr]
    attention = 2 * 2 * tokens * tokens * width * len(vit.blocks)  # type: ignore[arg-type, union-attr]
    assert operations(module) == pytest.approx(counted_by_hand(module) + attention, rel=0.01)


def test_a_peak_is_what_no_processor_of_today_exceeds() -> None:
    assert 1e8 < peak_per_s("fp32") < 1e15


@pytest.mark.parametrize(("precision", "runs_in"), [("fp32", "f32"), ("int8", "u8")])
def test_the_product_is_computed_in_the_precision_it_is_named_after(
    precision: str, runs_in: str
) -> None:
    ran = [op.get_rt_info() for op in product(precision).get_runtime_model().get_ops()]
    (used,) = [
        info["runtimePrecision"].astype(str)
        for info in ran
        if info["layerType"].astype(str) in ("FullyConnected", "MatMul")
    ]
    assert used == runs_in
