"""A classifier that was trained elsewhere with timm, taken over as a checkpoint of ours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fer_edge.errors import CheckpointError, InputError, LabelError, RecipeError
from fer_edge.preprocess import CropRule, to_batch
from fer_edge.shipped import FACES
from fer_edge.training.checkpoint import CARD, Checkpoint, load_checkpoint, save_checkpoint
from fer_edge.training.data.faces import load_faces
from fer_edge.training.deploy import DeployModule
from fer_edge.training.models.network import ExpressionNet, InputSpec, ModelSpec
from fer_edge.training.models.pretrained import Account, read_state

import timm  # isort: skip  (after the torchvision shim)

_SAME = 1e-4
"""Largest difference of a logit, as a share of the largest: another kernel rounds otherwise."""


def import_checkpoint(
    path: str | Path, spec: ModelSpec, out: str | Path, licence: str | None = None
) -> tuple[Account, dict[str, Any]]:
    """Write timm weights as the checkpoint folder ``out``; gives what became of each tensor, and
    what storing them in half precision changed on the shipped faces.

    path: a state dict, plain or inside a training state, as safetensors or as a torch file of
    tensors. spec: the network, its labels in the order of the classifier's outputs, and what its
    inputs were. The result is not calibrated: its temperature is 1, and it never abstains.

    Raises CheckpointError (unreadable, a pickled module, tensors that are missing or do not fit),
    LabelError (another number of labels), RecipeError (no such backbone), InputError (``out``).
    """
    check_input(spec.input)
    out = Path(out)
    if out.exists() and not (out / CARD).is_file():
        raise InputError(f"{out} exists and is no checkpoint folder. Choose another place")
    net, account = take_over(path, spec)
    facts = {
        "imported": account.facts(),
        "calibrated": False,
        "licences": {"data": licence or "not stated"},
    }
    checkpoint = Checkpoint(net, facts=facts)
    save_checkpoint(checkpoint, out)
    return account, _rounding(checkpoint, load_checkpoint(out))


def take_over(path: str | Path, spec: ModelSpec) -> tuple[ExpressionNet, Account]:
    """timm's network with these weights as ours, in eval mode; proven to give the same logits."""
    net = ExpressionNet(spec).eval()
    classes = len(spec.labels)
    try:
        whole = timm.create_model(
            spec.backbone,
            num_classes=classes,
            in_chans=spec.input.channels,
            **spec.backbone_args,
        ).eval()
    except (RuntimeError, TypeError, ValueError) as error:
        raise RecipeError(f"timm cannot build {spec.backbone!r}: {error}") from error
    name = (getattr(whole, "pretrained_cfg", None) or {}).get("classifier")
    if not isinstance(name, str):
        raise CheckpointError(
            f"expected a backbone with one classifier, but that of {spec.backbone} is {name!r}: "
            "it cannot be imported"
        )
    state, digest = read_state(path)
    weight = state.get(f"{name}.weight")
    if weight is None:
        raise CheckpointError(
            f"expected the classifier's weights as {name}.weight in {path}: a file without a "
            "classifier is what a training starts from (fer-edge train --weights)"
        )
    if len(weight) != classes:
        raise LabelError(
            f"the classifier in {path} has {len(weight)} outputs, and {classes} labels were given: "
            f"{', '.join(spec.labels)}. Name each output, in order"
        )
    account = _load(whole, path, state, digest)
    _copy(whole, name, net)
    _prove(whole, net, spec, name)
    return net, account


def check_input(spec: InputSpec) -> None:
    """Raises InputError for a mean or std that is not in units of 0..1."""
    if not all(0 <= m <= 1 for m in spec.mean) or not all(0 < s <= 1 for s in spec.std):
        raise InputError(
            f"expected mean and std in units of 0..1 (ImageNet's are 0.485,0.456,0.406 and "
            f"0.229,0.224,0.225), got mean {spec.mean} and std {spec.std}. Divide by 255"
        )


def _load(whole: nn.Module, path: str | Path, state: dict[str, Tensor], digest: str) -> Account:
    own = whole.state_dict()
    fits = [n for n in own if n in state and state[n].shape == own[n].shape]
    account = Account(
        file=Path(path).name,
        sha256=digest,
        loaded=tuple(fits),
        resampled=(),
        missing=tuple(n for n in own if n not in state),
        left_over=tuple(n for n in state if n not in own),
        reshaped=tuple(n for n in own if n in state and state[n].shape != own[n].shape),
    )
    # A counter that no answer depends on, and that older files do not have.
    needed = [n for n in account.missing if not n.endswith("num_batches_tracked")]
    if needed or account.reshaped:
        raise CheckpointError(
            f"{path} does not fit the network: {account}. Check backbone, colour and size"
        )
    if not all(torch.isfinite(state[n]).all() for n in fits if state[n].is_floating_point()):
        raise CheckpointError(f"{path} holds values that are not finite")
    whole.load_state_dict({n: state[n] for n in fits}, strict=False)
    return account


def _copy(whole: nn.Module, name: str, net: ExpressionNet) -> None:
    state = whole.state_dict()
    net.backbone.load_state_dict({n: state[n] for n in net.backbone.state_dict()})
    linear = net.head[1]
    assert isinstance(linear, nn.Linear)
    bias = state.get(f"{name}.bias")
    with torch.no_grad():
        linear.weight.copy_(state[f"{name}.weight"].flatten(1))  # some are 1x1 convolutions
        linear.bias.copy_(torch.zeros(len(linear.bias)) if bias is None else bias)


def _prove(whole: nn.Module, net: ExpressionNet, spec: ModelSpec, name: str) -> None:
    generator = torch.Generator().manual_seed(0)
    side = spec.input.size_px
    x = torch.randn(4, spec.input.channels, side, side, generator=generator)
    with torch.inference_mode():
        try:
            wanted, got = whole(x), net(x)[0]
        except (RuntimeError, AssertionError) as error:
            raise RecipeError(f"{spec.backbone} cannot take {side} px pictures: {error}") from error
    same = isinstance(wanted, Tensor) and wanted.shape == got.shape
    if not same or not (wanted - got).abs().max() <= _SAME * wanted.abs().max():
        raise CheckpointError(
            f"what {spec.backbone} does with its features is more than the one linear layer "
            f"{name}: it cannot be imported"
        )


def _rounding(exact: Checkpoint, stored: Checkpoint) -> dict[str, Any]:
    """What half-precision weights change: faces, answers that changed, largest |dp|."""
    faces = load_faces(FACES, "val")[::4]
    batch = to_batch([face.read() for face in faces], CropRule(exact.spec.input.size_px))
    with torch.inference_mode():
        images = torch.split(torch.from_numpy(batch), 16)
        p, q = (
            np.concatenate([module(part)[0].numpy() for part in images])
            for module in (DeployModule(exact), DeployModule(stored))
        )
    return {
        "faces": len(faces),
        "answers_changed": int((p.argmax(1) != q.argmax(1)).sum()),
        "max_abs_dp": float(np.abs(p - q).max()),
    }
