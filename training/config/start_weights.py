"""Initial weights by short names: shipped checkpoints, and timm's."""

from __future__ import annotations

import copy
import json
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from fer_edge.errors import RecipeError
from fer_edge.plain_file import is_file
from fer_edge.progress import Say
from fer_edge.shipped import MODELS, checkpoint_path
from fer_edge.shown import shown

IMAGENET = "imagenet"
"""Name of timm's published weights for a backbone."""
NAMES = (*MODELS, IMAGENET)
"""Short names that ``model.weights`` accepts besides files."""

_PART_OF = {"mobilenetv2_stride16": "mobilenetv2_100"}
"""Backbones that are the first layers of another one, and take its weights."""
_CARD, _FILE = "card.json", "model.safetensors"
_CROP_SHARE = 0.875
"""Side of the training crop as a share of the input's, as in edge-default."""


def weights_file(weights: str) -> Path:
    """Return the file of ``model.weights``, which may be a shipped name or a checkpoint folder.

    ``./default`` is a path.

    Raises:
        RecipeError: The file is missing.
    """
    folder = checkpoint_path(weights)
    for path in (folder / _FILE, folder):
        if is_file(path):
            return path
    if weights in MODELS:
        raise RecipeError(
            f"this installation has no checkpoint {weights!r}: expected {folder}. Start from "
            "another: --weights default, --weights imagenet, or --weights FILE"
        )
    raise RecipeError(
        f"cannot read weights {weights}: expected a file, a checkpoint folder, or one of "
        f"{', '.join(NAMES)}. Start from the shipped model with --weights default"
    )


def adopt_network(data: dict[str, Any], chosen: Collection[str], say: Say) -> None:
    """Give a recipe the network of the shipped checkpoint that it starts from, in place.

    A recipe with the checkpoint's backbone, or with a part of it, keeps its own network.

    Args:
        data: The recipe's sections.
        chosen: Keys that the user set for this run, as ``section.key``.
        say: Receives a sentence about the network that is replaced.

    Raises:
        RecipeError: The checkpoint is missing, or the user chose another network for this run.
    """
    model = data.get("model")
    if not isinstance(model, dict) or model.get("weights") not in MODELS:
        return
    card = weights_file(model["weights"]).with_name(_CARD)
    network = json.loads(card.read_text("utf-8"))["model"]
    backbone = str(model.get("backbone"))
    if network["backbone"] in (backbone, _PART_OF.get(backbone)):
        return
    before = copy.deepcopy({key: data.get(key) for key in ("model", "input")})
    model.update(
        backbone=network["backbone"],
        backbone_args=network.get("backbone_args") or None,
        neck=network.get("neck", []),
    )
    data["input"] = network["input"]
    _check_kept(before, data, chosen)
    augment = data.get("augment")
    if isinstance(augment, dict) and augment.get("crop_px") and "augment.crop_px" not in chosen:
        augment["crop_px"] = round(_CROP_SHARE * network["input"]["size_px"])
    say(
        f"The weights {model['weights']} bring their network: {network['backbone']} at "
        f"{network['input']['size_px']} px replaces the recipe's {shown(backbone)}"
    )


def _check_kept(before: dict[str, Any], data: dict[str, Any], chosen: Collection[str]) -> None:
    """Raise RecipeError for a chosen key that the checkpoint's network changed."""
    for name in chosen:
        section, *path = name.split(".")
        if section not in before:
            continue
        old, new = before[section], data[section]
        if path:
            old, new = _value_at(old, path), _value_at(new, path)
        elif isinstance(old, dict):  # the checkpoint adds what the user left out
            keys = list(old)
            old, new = ({key: _value_at(one, [key]) for key in keys} for one in (old, new))
        if old != new:
            raise RecipeError(
                f"expected {name}={shown(new)}, that of the network whose weights are "
                f"{data['model']['weights']}, got {shown(old)}. Leave {name} out, or start from "
                "other weights with --weights imagenet or --weights FILE"
            )


def _value_at(section: Any, path: Sequence[str]) -> Any:
    """Return the value of a key of a section; no named values are as good as None."""
    for key in path:
        section = section.get(key) if isinstance(section, dict) else None
    return None if section == {} else section
