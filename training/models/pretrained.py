"""Initial weights of a backbone, from timm or a file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fer_edge.errors import CheckpointError, RecipeError, TrainingError
from fer_edge.shown import printable, shown
from fer_edge.training.models.network import ExpressionNet  # (before timm: the torchvision shim)
from fer_edge.training.models.weights_file import StateDict, read_weights

import timm  # isort: skip
from timm.layers import resample_abs_pos_embed, resize_rel_pos_bias_table  # isort: skip
from timm.models import adapt_input_conv  # isort: skip

_MOST_NAME = 80
"""Largest number of characters of a tensor's name in a message."""


@dataclass(frozen=True)
class Account:
    """Use of each tensor of a weights file, by name.

    Attributes:
        file: Name of the file.
        sha256: SHA-256 of the file.
        loaded: Tensors that were loaded.
        resampled: Loaded position embeddings that were resampled to the network's image size.
        missing: Tensors of the network that the file does not have.
        left_over: Tensors of the file that the network does not have.
        reshaped: Tensors of another shape, which were not loaded.
        key: Where in a training state the tensors were; may be empty.
        prefix: Prefix that was removed from their names; may be empty.
        unread: Tensors of the file whose type cannot be read.
    """

    file: str
    sha256: str
    loaded: tuple[str, ...]
    resampled: tuple[str, ...]
    missing: tuple[str, ...]
    left_over: tuple[str, ...]
    reshaped: tuple[str, ...]
    key: str = ""
    prefix: str = ""
    unread: tuple[str, ...] = ()

    @staticmethod
    def of(
        module: nn.Module, path: str | Path, read: StateDict, resampled: tuple[str, ...] = ()
    ) -> Account:
        """Compare the tensors of a weights file with those of a module."""
        own, state = module.state_dict(), read.tensors
        return Account(
            file=Path(path).name,
            sha256=read.sha256,
            loaded=tuple(n for n in own if n in state and state[n].shape == own[n].shape),
            resampled=resampled,
            missing=tuple(n for n in own if n not in state),
            left_over=tuple(n for n in state if n not in own),
            reshaped=tuple(n for n in own if n in state and state[n].shape != own[n].shape),
            key=read.key,
            prefix=read.prefix,
            unread=read.unread,
        )

    def __str__(self) -> str:
        own = len(self.loaded) + len(self.missing) + len(self.reshaped)
        parts = [f"{len(self.loaded)} of {own} tensors loaded from {self.file}"]
        if self.key:
            parts[0] += f", under the key {shown(self.key)}"
        if self.prefix:
            parts.append(f"prefix {shown(self.prefix)} removed")
        for what, names in (
            ("of them resampled", self.resampled),
            ("missing in the file", self.missing),
            ("unused", self.left_over),
            ("of another shape, not loaded", self.reshaped),
            ("of a type that cannot be read; save them as float32", self.unread),
        ):
            if names:
                more = f" and {len(names) - 4} more" if len(names) > 4 else ""
                few = ", ".join(printable(name[:_MOST_NAME]) for name in names[:4])
                parts.append(f"{len(names)} {what} ({few}{more})")
        return "; ".join(parts)

    def facts(self) -> dict[str, Any]:
        """Return the facts for the checkpoint's card."""
        return {
            "file": self.file,
            "sha256": self.sha256,
            "loaded": len(self.loaded),
            "resampled": list(self.resampled),
            "missing": list(self.missing),
            "left_over": list(self.left_over),
            "reshaped": list(self.reshaped),
            "key": self.key,
            "prefix": self.prefix,
        }


def load_weights(backbone: nn.Module, path: str | Path) -> Account:
    """Load a weights file of the same architecture into a backbone.

    Adapts the first convolution to the number of channels, and position embeddings to the image
    size.

    Args:
        backbone: timm backbone.
        path: Path of the weights file.

    Returns:
        Account of the tensors.

    Raises:
        CheckpointError: The file cannot be read, holds values that are not finite, or has less than
            half of the network's tensors.
    """
    own = backbone.state_dict()
    read = read_weights(path, own)
    state = read.tensors
    try:
        _adapt_channels(backbone, own, state)
        resampled = _resample_positions(backbone, state)
    except Exception as error:  # timm asserts, indexes and reshapes by the shapes in the file
        raise CheckpointError(
            f"{path} is for another network: {type(error).__name__}: {str(error)[:200]}. Check "
            "model.backbone"
        ) from error
    account = Account.of(backbone, path, read, resampled)
    if 2 * len(account.loaded) < len(own):
        raise CheckpointError(f"{path} is for another network: {account}. Check model.backbone")
    load_tensors(backbone, path, state, account)
    return account


def load_tensors(
    module: nn.Module, path: str | Path, state: Mapping[str, Tensor], account: Account
) -> None:
    """Load the tensors that fit a module.

    Args:
        module: Module of the account.
        path: Path of the weights file, for messages.
        state: Tensors by name.
        account: Names of the tensors to load.

    Raises:
        CheckpointError: The tensors hold values that are not finite.
    """
    module.load_state_dict({name: state[name] for name in account.loaded}, strict=False)
    own = module.state_dict()
    if not all(torch.isfinite(own[name]).all() for name in account.loaded):
        raise CheckpointError(f"{path} holds values that are not finite. Use another file")


def _adapt_channels(
    backbone: nn.Module, own: Mapping[str, Tensor], state: dict[str, Tensor]
) -> None:
    """Adapt the first convolution to the network's channels, in place."""
    first = (getattr(backbone, "pretrained_cfg", None) or {}).get("first_conv")
    name = f"{first}.weight"
    if name in state and name in own and state[name].shape != own[name].shape:
        state[name] = adapt_input_conv(own[name].shape[1], state[name])


def _resample_positions(backbone: Any, state: dict[str, Tensor]) -> tuple[str, ...]:
    """Resample position embeddings (ViT) and bias tables (Swin), in place."""
    names = []
    for name, own in backbone.state_dict().items():
        if name not in state or state[name].shape == own.shape:
            continue
        if name == "pos_embed" and state[name].shape[-1] == own.shape[-1]:
            state[name] = resample_abs_pos_embed(
                state[name],
                new_size=backbone.patch_embed.grid_size,
                num_prefix_tokens=backbone.num_prefix_tokens,
            )
        elif name.endswith("relative_position_bias_table") and state[name].shape[1] == own.shape[1]:
            attention = backbone.get_submodule(name.rpartition(".")[0])
            state[name] = resize_rel_pos_bias_table(
                state[name], new_window_size=attention.window_size, new_bias_shape=own.shape
            )
        else:
            continue
        names.append(name)
    return tuple(names)


def published_for(net: ExpressionNet) -> bool:
    """Return whether timm publishes weights for the backbone."""
    return bool(timm.is_model_pretrained(net.spec.backbone))


def load_pretrained(net: ExpressionNet, say: Callable[[str], None]) -> dict[str, Any]:
    """Load timm's published weights into the backbone; return their origin.

    Raises RecipeError if timm publishes none, TrainingError if they cannot be downloaded.
    """
    spec = net.spec
    if not published_for(net):
        raise RecipeError(
            f"timm publishes no weights for {spec.backbone}. Set model.pretrained to false, "
            "or pass a file with --weights FILE"
        )
    say(f"Loading timm's weights for {spec.backbone} from its cache or the Hub")
    try:
        ready = timm.create_model(
            spec.backbone,
            pretrained=True,
            num_classes=0,
            in_chans=spec.input.channels,
            **spec.backbone_args,
        )
    except Exception as error:  # the hub, its client and the network raise many types
        raise TrainingError(
            f"cannot download the weights of {spec.backbone}: {str(error).rstrip('.')}. Download "
            "them on another machine, and pass the file: --weights FILE"
        ) from error
    net.backbone.load_state_dict(ready.state_dict())
    config = ready.pretrained_cfg
    return {"hub": config.get("hf_hub_id") or config.get("url"), "tag": config.get("tag")}
