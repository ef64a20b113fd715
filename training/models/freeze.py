"""Which part of a network is trained: everything, its head, or its head and its last layers."""

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
    """Make the network what a phase trains: additions of the one before merged, its own added,
    and ``requires_grad`` set on all that the phase is going to train at some time."""
    merge_lora(net)
    kind, _, count = phase.train.partition(" ")
    if kind == "lora":
        net.requires_grad_(True)
        add_lora(net.backbone, int(count), seed)
    else:
        freeze(net, trained_at(phase, phase.epochs - 1, net.backbone))


def trained_at(phase: Phase, epoch: int, backbone: nn.Module) -> str:
    """``Phase.train`` in one epoch (from 0) of the phase, with ``gradual`` worked out."""
    kind, _, count = phase.train.partition(" ")
    if kind != "gradual":
        return phase.train
    step = epoch // int(count)
    if step > len(blocks(backbone)):
        return "full"
    return f"last {step}" if step else "head"


def freeze(net: ExpressionNet, train: str) -> None:
    """Set ``requires_grad`` on every parameter, as ``train`` says (see schema.Phase).

    Raises RecipeError where the backbone has fewer such parts.
    """
    kind, _, count = train.partition(" ")
    if kind == "lora":
        return  # as prepare has set it
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
        _unfreeze_from(net.backbone, ends[-1])  # and what comes after the very last


def blocks(backbone: nn.Module) -> list[str]:
    """Names of the backbone's blocks, from its input to its output."""
    names = [name for name, _ in backbone.named_modules() if _BLOCK.fullmatch(name)]
    return [name for name in names if not any(other.startswith(f"{name}.") for other in names)]


def _layers(backbone: nn.Module) -> list[str]:
    """Names of the modules that hold parameters of their own: convolutions, norms, linears."""
    return [
        name
        for name, module in backbone.named_modules()
        if name and next(module.parameters(recurse=False), None) is not None
    ]


def _last(names: Sequence[str], count: int, what: str, net: ExpressionNet) -> str:
    if not names:
        raise RecipeError(f"{net.spec.backbone} has no {what} to choose from: use 'layers N'")
    if count > len(names):
        raise RecipeError(
            f"expected at most {len(names)} {what} to train of {net.spec.backbone}, got {count}"
        )
    return names[-count]


def _unfreeze_from(backbone: nn.Module, first: str) -> None:
    """Everything from the module ``first`` on; timm registers modules in the order of use."""
    after = False
    for name, parameter in backbone.named_parameters():
        after = after or name.startswith(f"{first}.")
        parameter.requires_grad_(after or parameter.requires_grad)


def train_mode(net: ExpressionNet) -> None:
    """Training mode, but for what is frozen: its batch norms keep their statistics, too."""
    net.train()
    for module in net.backbone.modules():
        parameters = list(module.parameters())
        if parameters and not any(p.requires_grad for p in parameters):
            module.eval()


def trainable_count(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters() if p.requires_grad)


def parameter_counts(spec: ModelSpec, phases: Sequence[Phase]) -> tuple[int, list[int]]:
    """Parameters of the network, and how many (also of LoRA's additions) each phase ends up with
    training.

    Nothing is allocated. Raises RecipeError for a phase that this network does not have.
    """
    with torch.device("meta"):
        net = ExpressionNet(spec)
        total = sum(p.numel() for p in net.parameters())
        trained = []
        for phase in phases:
            prepare(net, phase, seed=0)
            trained.append(trainable_count(net))
    return total, trained
