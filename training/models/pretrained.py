"""Initial weights of a backbone, from timm or a file."""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from fer_edge.errors import CheckpointError, RecipeError, TrainingError
from fer_edge.training.models.network import ExpressionNet  # (before timm: the torchvision shim)

import timm  # isort: skip
from timm.layers import resample_abs_pos_embed, resize_rel_pos_bias_table  # isort: skip
from timm.models import adapt_input_conv  # isort: skip

_WRAPPERS = (
    "state_dict_ema", "model_ema", "ema_state_dict", "ema", "params_ema", "state_dict",
    "model_state_dict", "model_state", "model", "net", "network", "module", "params", "weights",
)  # fmt: skip
"""Keys under which training programs store their tensors; averaged weights come first."""
_MOST_WRAPPED = 4
_PREFIXES = ("module.", "_orig_mod.", "backbone.")
_WRAPPER_PREFIXES = ("model.", "net.", "network.", "ema_model.")
"""Prefixes of modules that only wrap the network; a network can have such a part of its own, so
they are removed only from files in which most tensors have them."""


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
            ("missing in the file", self.missing),
            ("unused", self.left_over),
            ("of another shape, not loaded", self.reshaped),
        ):
            if names:
                more = f" and {len(names) - 4} more" if len(names) > 4 else ""
                parts.append(f"{len(names)} {what} ({', '.join(names[:4])}{more})")
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
        }


def read_state(path: str | Path) -> tuple[dict[str, Tensor], str]:
    """Read the tensors of a ``.safetensors`` or torch file.

    Unwraps a state dict from a training state, and strips the prefixes of wrapped modules and of
    this package's checkpoints. Unpickles only tensors.

    Args:
        path: Path of the file.

    Returns:
        Tensors by name, and the file's SHA-256.

    Raises:
        CheckpointError: The file cannot be read, or holds a pickled module.
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
    return _unwrapped_names(state), digest


def _unwrapped_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors without the prefixes of wrapping modules, in any order of them."""
    while prefix := next((p for p in (*_PREFIXES, *_WRAPPER_PREFIXES) if _wraps(p, state)), None):
        state = {name.removeprefix(prefix): value for name, value in state.items()}
    return state


def _wraps(prefix: str, state: dict[str, Tensor]) -> bool:
    count = sum(name.startswith(prefix) for name in state)
    return count > 0 and (prefix in _PREFIXES or 2 * count > len(state))


def _torch_state(path: Path) -> dict[str, Tensor]:
    try:
        # Plain values that training programs store beside the tensors; none of them runs code.
        with torch.serialization.safe_globals(_plain_types()):
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many types for damaged or hostile archives
        raise CheckpointError(
            f"expected safetensors, or a torch file of tensors only, got {path}. A pickled module "
            "can run any code, and breaks with other releases of timm. Load it in its own project, "
            "and save model.state_dict()"
        ) from error
    for _ in range(_MOST_WRAPPED):
        inner = next((state[key] for key in _WRAPPERS if _is_wrapped(state, key)), None)
        if inner is None:
            break
        state = inner
    if not isinstance(state, dict) or not any(isinstance(v, Tensor) for v in state.values()):
        raise CheckpointError(
            f"expected tensors by name in {path}, found none. Save model.state_dict()"
        )
    return {str(name): value for name, value in state.items() if isinstance(value, Tensor)}


def _is_wrapped(state: Any, key: str) -> bool:
    return isinstance(state, dict) and isinstance(state.get(key), dict) and bool(state[key])


def _plain_types() -> list[Any]:
    """Return the types of plain values in training states: argparse's and numpy's scalars.

    timm's train.py stores its arguments as argparse.Namespace, and others a numpy metric.
    """
    scalar = np.float64(0).__reduce__()[0]
    names = [n for n in dir(np.dtypes) if n.endswith("DType") and "Object" not in n]
    kinds = [getattr(np.dtypes, name) for name in names]
    # numpy 2 and earlier releases call the same function by two names.
    calls = [(scalar, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")]
    return [argparse.Namespace, np.dtype, *kinds, *calls]


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
        raise CheckpointError(f"{path} is for another network: {account}. Check model.backbone")
    if not all(torch.isfinite(state[n]).all() for n in loaded if state[n].is_floating_point()):
        raise CheckpointError(f"{path} holds values that are not finite")
    backbone.load_state_dict({n: state[n] for n in loaded}, strict=False)
    return account


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


def load_pretrained(net: ExpressionNet, say: Callable[[str], None]) -> dict[str, Any]:
    """Load timm's published weights into the backbone; return their origin.

    Raises RecipeError if timm publishes none, TrainingError if they cannot be downloaded.
    """
    spec = net.spec
    if not timm.is_model_pretrained(spec.backbone):
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
