"""Import of classifiers trained with timm."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fer_edge.errors import CheckpointError, InputError, LabelError, RecipeError
from fer_edge.out_folder import check_out_folder
from fer_edge.preprocess import CropRule, to_batch
from fer_edge.shipped import FACES
from fer_edge.training.checkpoint import CARD, Checkpoint, load_checkpoint, save_checkpoint
from fer_edge.training.data.faces import load_faces
from fer_edge.training.deploy import DeployModule
from fer_edge.training.models.network import ExpressionNet, InputSpec, ModelSpec
from fer_edge.training.models.pretrained import Account, load_tensors
from fer_edge.training.models.weights_file import StateDict, read_weights

import timm  # isort: skip  (after the torchvision shim)

_SAME = 1e-4
"""Largest difference of logits as a share of the largest logit; kernels round differently."""


def import_checkpoint(
    path: str | Path, spec: ModelSpec, out: str | Path, licence: str | None = None
) -> tuple[Account, dict[str, Any]]:
    """Write timm weights as a checkpoint folder.

    The checkpoint is not calibrated: its temperature is 1, and it never abstains.

    Args:
        path: State dict, plain or in a training state, as safetensors or a torch file of tensors.
        spec: Network, with its labels in the order of the classifier's outputs, and its input.
        out: Checkpoint folder to write.
        licence: Permitted use of the training data, for the card.

    Returns:
        Account of the tensors, and the effect of half precision on the shipped faces: ``faces``,
        ``answers_changed`` and ``max_abs_dp``.

    Raises:
        CheckpointError: The file cannot be read or holds a pickled module, or tensors are missing
            or do not fit.
        LabelError: The classifier has another number of labels.
        RecipeError: timm has no such backbone.
        InputError: ``out`` is another kind of folder, or mean and std are not in 0..1.
    """
    check_input(spec.input)
    out = Path(out)
    check_out_folder(out, CARD, "checkpoint")
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
    """Load timm weights into our network, and verify its logits."""
    net = ExpressionNet(spec).eval()
    classes = len(spec.labels)
    try:
        original = timm.create_model(
            spec.backbone,
            num_classes=classes,
            in_chans=spec.input.channels,
            **spec.backbone_args,
        ).eval()
    except Exception as error:  # timm asserts, looks up and divides by its arguments
        raise RecipeError(
            f"timm cannot build {spec.backbone!r}: {type(error).__name__}: {str(error)[:200]}. "
            "Check its arguments"
        ) from error
    name = (getattr(original, "pretrained_cfg", None) or {}).get("classifier")
    if not isinstance(name, str):
        raise CheckpointError(
            f"expected a backbone with one classifier, got {name!r} for {spec.backbone}: it cannot "
            "be imported. Train it with fer-edge train --weights"
        )
    read = read_weights(path, original.state_dict())
    weight = read.tensors.get(f"{name}.weight")
    if weight is None or not weight.ndim:
        raise CheckpointError(
            f"expected the classifier's weights as {name}.weight in {path}, found none. To start "
            "a training from a file without a classifier, use fer-edge train --weights"
        )
    if len(weight) != classes:
        raise LabelError(
            f"expected a label for each of the {len(weight)} outputs of {path}, got {classes} "
            f"labels: {', '.join(spec.labels)}. Name each output, in order"
        )
    account = _load(original, path, read)
    _copy(original, name, net)
    _verify(original, net, spec, name)
    return net, account


def check_input(spec: InputSpec) -> None:
    """Raise InputError unless mean and std are in units of 0..1."""
    if not all(0 <= m <= 1 for m in spec.mean) or not all(0 < s <= 1 for s in spec.std):
        raise InputError(
            f"expected mean and std in units of 0..1 (ImageNet's are 0.485,0.456,0.406 and "
            f"0.229,0.224,0.225), got mean {spec.mean} and std {spec.std}. Divide by 255"
        )


def _load(original: nn.Module, path: str | Path, read: StateDict) -> Account:
    account = Account.of(original, path, read)
    # Outputs do not depend on this counter, and older files do not have it.
    needed = [n for n in account.missing if not n.endswith("num_batches_tracked")]
    if needed or account.reshaped:
        raise CheckpointError(
            f"{path} does not fit the network: {account}. Check backbone, colour and size"
        )
    load_tensors(original, path, read.tensors, account)
    return account


def _copy(original: nn.Module, name: str, net: ExpressionNet) -> None:
    state = original.state_dict()
    net.backbone.load_state_dict({n: state[n] for n in net.backbone.state_dict()})
    linear = net.head[1]
    assert isinstance(linear, nn.Linear)
    bias = state.get(f"{name}.bias")
    with torch.no_grad():
        linear.weight.copy_(
            state[f"{name}.weight"].flatten(1)
        )  # some classifiers are 1x1 convolutions
        linear.bias.copy_(torch.zeros(len(linear.bias)) if bias is None else bias)


def _verify(original: nn.Module, net: ExpressionNet, spec: ModelSpec, name: str) -> None:
    """Raise CheckpointError unless both networks give the same logits for random input."""
    generator = torch.Generator().manual_seed(0)
    side = spec.input.size_px
    x = torch.randn(4, spec.input.channels, side, side, generator=generator)
    with torch.inference_mode():
        try:
            expected, got = original(x), net(x)[0]
        except (RuntimeError, AssertionError) as error:
            raise RecipeError(f"{spec.backbone} does not take {side} px images: {error}") from error
    same = isinstance(expected, Tensor) and expected.shape == got.shape
    if not same or not (expected - got).abs().max() <= _SAME * expected.abs().max():
        raise CheckpointError(
            f"expected {spec.backbone} to have only the linear layer {name} after its features, "
            "but the logits differ: it cannot be imported. Train it with fer-edge train --weights"
        )


def _rounding(exact: Checkpoint, stored: Checkpoint) -> dict[str, Any]:
    """Return the effect of half-precision weights: faces, changed answers, largest |dp|."""
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
