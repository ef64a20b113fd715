"""Weights that a backbone starts from: ImageNet's, from timm or from a file, accounted for."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from fer_edge.errors import CheckpointError, RecipeError, TrainingError
from fer_edge.training.models.network import ExpressionNet  # (before timm: the torchvision shim)

import timm  # isort: skip
from timm.layers import resample_abs_pos_embed, resize_rel_pos_bias_table  # isort: skip
from timm.models import adapt_input_conv  # isort: skip

_WRAPPERS = ("state_dict_ema", "model_ema", "state_dict", "model_state_dict", "model")
_PREFIXES = ("module.", "_orig_mod.", "backbone.")


@dataclass(frozen=True)
class Account:
    """What became of each tensor of a weights file.

    loaded, resampled (loaded, from a grid of positions of another size), missing (in the network,
    not in the file), left_over (in the file, not in the network), reshaped (other shape: not
    loaded), by the network's names.
    """

    file: str
    sha256: str
    loaded: tuple[str, ...]
    resampled: tuple[str, ...]
    missing: tuple[str, ...]
    left_over: tuple[str, ...]
    reshaped: tuple[str, ...]

    def __str__(self) -> str:
        parts = [f"{len(self.loaded)} tensors loaded from {self.file}"]
        for what, names in (
            ("of them resampled", self.resampled),
            ("missing there", self.missing),
            ("left over", self.left_over),
            ("of another shape, not loaded", self.reshaped),
        ):
            if names:
                more = f" and {len(names) - 4} more" if len(names) > 4 else ""
                parts.append(f"{len(names)} {what} ({', '.join(names[:4])}{more})")
        return "; ".join(parts)

    def facts(self) -> dict[str, Any]:
        """For the card: enough to find the file again, and to see what it did not give."""
        return {
            "file": self.file,
            "sha256": self.sha256,
            "loaded": len(self.loaded),
            "resampled": list(self.resampled),
            "missing": list(self.missing),
            "left_over": list(self.left_over),
            "reshaped": list(self.reshaped),
        }


def read_state(path: str | Path) -> tuple[dict[str, Tensor], str]:
    """Tensors of a ``.safetensors`` or torch file by name, and the file's SHA-256.

    A state dict that is wrapped in a training state is unwrapped, a checkpoint's of ours gives its
    backbone. Nothing is unpickled but
    tensors: a file that holds a whole module is refused. Raises CheckpointError.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"cannot read weights {path}: {error.strerror}") from error
    digest = hashlib.sha256(data).hexdigest()
    try:
        state = safetensors.torch.load(data)
    except SafetensorError as not_safetensors:
        if path.suffix == ".safetensors":
            raise CheckpointError(f"{path} is damaged: {not_safetensors}") from not_safetensors
        state = _torch_state(path)
    for prefix in _PREFIXES:
        state = {name.removeprefix(prefix): value for name, value in state.items()}
    return state, digest


def _torch_state(path: Path) -> dict[str, Tensor]:
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a damaged or hostile archive makes torch raise
        raise CheckpointError(
            f"{path} is neither safetensors nor a torch file of tensors alone. A pickled module "
            "can run any code and breaks with every release of timm: load it where it came from, "
            "and save model.state_dict() instead"
        ) from error
    for wrapper in _WRAPPERS:
        if isinstance(state, dict) and isinstance(state.get(wrapper), dict):
            state = state[wrapper]
            break
    if not isinstance(state, dict) or not any(isinstance(v, Tensor) for v in state.values()):
        raise CheckpointError(f"expected tensors by name in {path}, found none")
    return {str(name): value for name, value in state.items() if isinstance(value, Tensor)}


def load_weights(backbone: nn.Module, path: str | Path) -> Account:
    """Start a timm backbone from a file made for the same architecture.

    The first convolution is summed or repeated over colours where the file's was made for
    another number of them, and positions are resampled where it was made for another picture
    size. Raises CheckpointError for an unreadable file, or if less than half
    of the network's tensors are in it: then it was made for another one.
    """
    state, digest = read_state(path)
    own = backbone.state_dict()
    first = (getattr(backbone, "pretrained_cfg", None) or {}).get("first_conv")
    if isinstance(first, str) and (weight := f"{first}.weight") in state and weight in own:
        state[weight] = adapt_input_conv(own[weight].shape[1], state[weight])
    resampled = _resample_positions(backbone, state)
    loaded = [n for n in own if n in state and state[n].shape == own[n].shape]
    account = Account(
        file=Path(path).name,
        sha256=digest,
        loaded=tuple(loaded),
        resampled=resampled,
        missing=tuple(n for n in own if n not in state),
        left_over=tuple(n for n in state if n not in own),
        reshaped=tuple(n for n in own if n in state and state[n].shape != own[n].shape),
    )
    if 2 * len(loaded) < len(own):
        raise CheckpointError(f"{path} was made for another network: {account}")
    if not all(torch.isfinite(state[n]).all() for n in loaded if state[n].is_floating_point()):
        raise CheckpointError(f"{path} holds values that are not finite")
    backbone.load_state_dict({n: state[n] for n in loaded}, strict=False)
    return account


def _resample_positions(backbone: Any, state: dict[str, Tensor]) -> tuple[str, ...]:
    """Position embeddings (ViT) and tables (Swin) of another size to the network's, in place."""
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


def load_pretrained(net: ExpressionNet, say: Callable[[str], None]) -> dict[str, Any]:
    """Start the backbone from the weights that timm publishes for it; gives where they are from.

    Raises RecipeError if there are none, TrainingError if they cannot be fetched.
    """
    spec = net.spec
    if not timm.is_model_pretrained(spec.backbone):
        raise RecipeError(
            f"timm publishes no weights for {spec.backbone}. Set model.pretrained to false, "
            "or give a file with --weights FILE"
        )
    say(f"Fetching timm's weights for {spec.backbone}, or taking them from its cache")
    try:
        ready = timm.create_model(
            spec.backbone,
            pretrained=True,
            num_classes=0,
            in_chans=spec.input.channels,
            **spec.backbone_args,
        )
    except Exception as error:  # whatever the hub, its client or the network raise
        raise TrainingError(
            f"the weights of {spec.backbone} cannot be fetched: {str(error).rstrip('.')}. Fetch "
            "them where there is a network, and start from that file: --weights FILE"
        ) from error
    net.backbone.load_state_dict(ready.state_dict())
    config = ready.pretrained_cfg
    return {"hub": config.get("hf_hub_id") or config.get("url"), "tag": config.get("tag")}
