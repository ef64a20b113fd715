"""Selection of the trained part of a network."""

from __future__ import annotations

import re
from collections.abc import Sequence

import torch
from torch import nn

from fer_edge.errors import RecipeError
from fer_edge.training.config.schema import Phase
from fer_edge.training.models.lora import add_lora, merge_lora
from fer_edge.training.models.network import ExpressionNet, ModelSpec

# timm calls the blocks of a network stages.i.blocks.j, layers.i.blocks.j, blocks.i.j or blocks.i.
_BLOCK = re.compile(r"(stages|layers|blocks)(\.blocks|\.\d+)*\.\d+")


def prepare(net: ExpressionNet, phase: Phase, seed: int) -> None:
    """Prepare the network for a phase.

    Merges LoRA additions of the previous phase, adds those of this one, and sets ``requires_grad``
    on every parameter that the phase trains in any epoch.
    """
    merge_lora(net)
    kind, _, count = phase.train.partition(" ")
    if kind == "lora":
        net.requires_grad_(True)
        add_lora(net.backbone, int(count), seed)
    else:
        freeze(net, trained_at(phase, phase.epochs - 1, net.backbone))


def trained_at(phase: Phase, epoch: int, backbone: nn.Module) -> str:
    """Return ``Phase.train`` in one epoch (from 0), with ``gradual`` resolved."""
    kind, _, count = phase.train.partition(" ")
    if kind != "gradual":
        return phase.train
    step = epoch // int(count)
    if step > len(blocks(backbone)):
        return "full"
    return f"last {step}" if step else "head"


def freeze(net: ExpressionNet, train: str) -> None:
    """Set ``requires_grad`` on every parameter; ``train`` is as in schema.Phase.

    Raises RecipeError if the backbone has fewer blocks, layers or stages.
    """
    kind, _, count = train.partition(" ")
    if kind == "lora":
        return  # prepare has set it
    net.requires_grad_(True)
    if kind == "full":
        return
    net.backbone.requires_grad_(False)
    if kind == "last":
        _unfreeze_from(net.backbone, _last(blocks(net.backbone), int(count), "blocks", net))
    elif kind == "layers":
        _unfreeze_from(net.backbone, _last(_layers(net.backbone), int(count), "layers", net))
    elif kind == "stage-ends":
        ends = list({name.split(".")[1]: name for name in blocks(net.backbone)}.values())
        if not all(re.fullmatch(r"\w+\.\d+\..*\d+", name) for name in ends):
            raise RecipeError(f"{net.spec.backbone} has no stages of blocks: use 'last {count}'")
        _last(ends, int(count), "stages", net)
        for name in ends[-int(count) :]:
            net.backbone.get_submodule(name).requires_grad_(True)
        _unfreeze_from(net.backbone, ends[-1])  # and the layers after the last block


def blocks(backbone: nn.Module) -> list[str]:
    """Return the names of the backbone's blocks, from input to output."""
    names = [name for name, _ in backbone.named_modules() if _BLOCK.fullmatch(name)]
    return [name for name in names if not any(other.startswith(f"{name}.") for other in names)]


def _layers(backbone: nn.Module) -> list[str]:
    """Return the names of modules with own parameters: convolutions, norms, linear layers."""
    return [
        name
        for name, module in backbone.named_modules()
        if name and next(module.parameters(recurse=False), None) is not None
    ]


def _last(names: Sequence[str], count: int, what: str, net: ExpressionNet) -> str:
    if not names:
        raise RecipeError(f"{net.spec.backbone} has no {what}: use 'layers N'")
    if count > len(names):
        raise RecipeError(
            f"expected at most {len(names)} {what} for {net.spec.backbone}, got {count}. Lower N"
        )
    return names[-count]


def _unfreeze_from(backbone: nn.Module, first: str) -> None:
    """Unfreeze ``first`` and all modules after it, in timm's order."""
    after = False
    for name, parameter in backbone.named_parameters():
        after = after or name.startswith(f"{first}.")
        parameter.requires_grad_(after or parameter.requires_grad)


def train_mode(net: ExpressionNet) -> None:
    """Set training mode; frozen batch norms keep their statistics."""
    net.train()
    for module in net.backbone.modules():
        parameters = list(module.parameters())
        if parameters and not any(p.requires_grad for p in parameters):
            module.eval()


def trainable_count(net: nn.Module) -> int:
    """Return the number of trainable parameters."""
    return sum(p.numel() for p in net.parameters() if p.requires_grad)


def parameter_counts(spec: ModelSpec, phases: Sequence[Phase]) -> tuple[int, list[int]]:
    """Count all parameters, and those that each phase trains last.

    The second count includes LoRA additions. No memory is allocated. Raises RecipeError for a phase
    that does not fit the network.
    """
    with torch.device("meta"):
        net = ExpressionNet(spec)
        total = sum(p.numel() for p in net.parameters())
        trained = []
        for phase in phases:
            prepare(net, phase, seed=0)
            trained.append(trainable_count(net))
    return total, trained
