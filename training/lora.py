"""Low-rank additions to linear layers (LoRA; Hu et al., 2021), merged before anything is saved."""

from __future__ import annotations

import copy
import math

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from fer_edge.errors import RecipeError
from fer_edge.training.model import FaceNet


class LowRank(nn.Module):
    """``W`` to ``W + B A``, of rank r; B starts at zero, so that nothing changes at first."""

    def __init__(self, weight: Tensor, rank: int, chance: torch.Generator) -> None:
        super().__init__()
        out_features, in_features = weight.shape
        a = torch.empty(rank, in_features)
        nn.init.kaiming_uniform_(a, a=math.sqrt(5), generator=chance)  # nn.Linear's own start
        self.a = nn.Parameter(a.to(weight.device))
        self.b = nn.Parameter(torch.zeros(out_features, rank, device=weight.device))

    def forward(self, weight: Tensor) -> Tensor:
        return weight + self.b @ self.a


def add_lora(backbone: nn.Module, rank: int, seed: int) -> None:
    """Freeze the backbone and add a trainable part to each of its linear layers, in place."""
    chance = torch.Generator().manual_seed(seed)
    backbone.requires_grad_(False)
    found = [module for module in backbone.modules() if isinstance(module, nn.Linear)]
    if not found:
        raise RecipeError(
            f"{type(backbone).__name__} has no linear layers that LoRA could add to. "
            "Train its last layers instead (fit.train: layers N)"
        )
    for module in found:
        parametrize.register_parametrization(module, "weight", LowRank(module.weight, rank, chance))


def merge_lora(model: nn.Module) -> None:
    """Make the additions part of the weights, in place; the model answers as before."""
    for module in list(model.modules()):
        if isinstance(module, nn.Linear) and parametrize.is_parametrized(module, "weight"):
            parametrize.remove_parametrizations(module, "weight", leave_parametrized=True)


def merged(model: FaceNet) -> FaceNet:
    """The model itself, or a copy with its additions merged where it has some."""
    if not any(isinstance(module, LowRank) for module in model.modules()):
        return model
    copied = copy.deepcopy(model)
    merge_lora(copied)
    return copied
