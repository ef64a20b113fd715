"""Low-rank additions to linear layers (LoRA; Hu et al., 2021)."""

from __future__ import annotations

import copy
import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fer_edge.errors import RecipeError
from fer_edge.training.models.network import ExpressionNet


class LowRankLinear(nn.Linear):
    """Linear layer ``(W + B A) x``; B starts at zero."""

    a: nn.Parameter
    b: nn.Parameter

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight + self.b @ self.a, self.bias)


def add_lora(backbone: nn.Module, rank: int, seed: int) -> None:
    """Freeze the backbone, and add LoRA to its linear layers.

    Raises RecipeError if the backbone has no linear layers.
    """
    chance = torch.Generator().manual_seed(seed)
    backbone.requires_grad_(False)
    layers = [module for module in backbone.modules() if type(module) is nn.Linear]
    if not layers:
        raise RecipeError(
            f"{type(backbone).__name__} has no linear layers for LoRA. "
            "Train its last layers instead (fit.train: layers N)"
        )
    for module in layers:
        device = module.weight.device
        a = torch.empty(rank, module.in_features, device="cpu")
        nn.init.kaiming_uniform_(a, a=math.sqrt(5), generator=chance)  # nn.Linear's own start
        # The object stays the same, so that all references to the layer stay valid.
        module.__class__ = LowRankLinear
        module.a = nn.Parameter(a.to(device))
        module.b = nn.Parameter(torch.zeros(module.out_features, rank, device=device))


@torch.no_grad()
def merge_lora(model: nn.Module) -> None:
    """Merge the additions into the weights in place; outputs stay the same."""
    for module in model.modules():
        if isinstance(module, LowRankLinear):
            module.weight += module.b @ module.a
            del module.a, module.b
            module.__class__ = nn.Linear  # type: ignore[assignment]


def merged(model: ExpressionNet) -> ExpressionNet:
    """Return the model, or a merged copy if it has LoRA additions."""
    if not any(isinstance(module, LowRankLinear) for module in model.modules()):
        return model
    copied = copy.deepcopy(model)
    merge_lora(copied)
    return copied
