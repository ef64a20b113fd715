"""Network of a recipe, with its initial weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from fer_edge.errors import RecipeError
from fer_edge.training.config.schema import Recipe
from fer_edge.training.config.start_weights import IMAGENET, weights_file
from fer_edge.training.models.network import ExpressionNet, InputSpec, ModelSpec
from fer_edge.training.models.pretrained import load_pretrained, load_weights, published_for


def model_spec(recipe: Recipe) -> ModelSpec:
    """Return the specification of a recipe's network."""
    i = recipe.input
    return ModelSpec(
        backbone=recipe.model.backbone,
        labels=recipe.labels,
        input=InputSpec(i.size_px, i.colour, i.mean, i.std),
        dropout=recipe.model.dropout,
        backbone_args=recipe.model.backbone_args or {},
        neck=recipe.model.neck,
    )


def build_network(
    recipe: Recipe, say: Callable[[str], None]
) -> tuple[ExpressionNet, dict[str, Any] | None]:
    """Build a recipe's network on the CPU, with its initial weights.

    Args:
        recipe: Recipe of the network.
        say: Receives messages.

    Returns:
        The network, and facts on the origin of the backbone's weights for the card, or None for
        random weights.

    Raises:
        RecipeError: The network cannot be built, or does not take the recipe's image sizes.
        CheckpointError: The weights file cannot be read, or is for another network.
        TrainingError: timm's weights cannot be downloaded.
    """
    net = ExpressionNet(model_spec(recipe))
    for size_px in {recipe.input.size_px, recipe.augment.crop_px or recipe.input.size_px}:
        _check_size(net, size_px)
    weights = recipe.model.weights
    if recipe.model.pretrained or weights == IMAGENET:
        return net, load_pretrained(net, say)
    if weights:
        account = load_weights(net.backbone, weights_file(weights))
        say(str(account))
        return net, account.facts()
    published = "timm's weights with --weights imagenet, or from " if published_for(net) else ""
    say(
        f"warning: {net.spec.backbone} starts from random weights, which takes many more faces and "
        f"epochs. Start from {published}the shipped model and its network with --weights default"
    )
    return net, None


@torch.no_grad()
def _check_size(net: ExpressionNet, size_px: int) -> None:
    """Run an empty image; timm checks sizes only then, with assertions."""
    try:
        net.eval()(torch.zeros(1, net.spec.input.channels, size_px, size_px))
    except (AssertionError, RuntimeError) as error:
        raise RecipeError(
            f"{net.spec.backbone} does not take images of {size_px} px: {error}. Change "
            "input.size_px or augment.crop_px, or set img_size in model.backbone_args if the "
            "network has it"
        ) from error
