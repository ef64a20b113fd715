"""Networks of the conversion matrix, with classifiers fitted to faces.

Weights are random except for the classifier: a gate sees no error in a network whose answers are
all alike.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from fer_edge.converters.pipeline.face_samples import FaceSamples
from fer_edge.labels import EMOTIONS
from fer_edge.training.checkpoint import Checkpoint
from fer_edge.training.deploy import DeployModule
from fer_edge.training.models.network import ExpressionNet, InputSpec, ModelSpec

_RIDGE = 1.0
"""Strength of the ridge, relative to the mean diagonal of the Gram matrix."""
_SEED = 2026


def _spec(
    backbone: str,
    size_px: int,
    half: bool = False,
    neck: tuple[str, ...] = (),
    **backbone_args: Any,
) -> ModelSpec:
    """Describe a network; ``half`` normalises to -1..1 instead of by ImageNet's statistics."""
    mean = (0.5,) * 3 if half else (0.485, 0.456, 0.406)
    std = (0.5,) * 3 if half else (0.229, 0.224, 0.225)
    inputs = InputSpec(size_px, "rgb", mean, std)
    return ModelSpec(backbone, EMOTIONS, inputs, neck=neck, backbone_args=backbone_args)


_SYSTEM_A = ("linear 256", "batchnorm", "relu", "dropout 0.3")
_SYSTEM_C = (
    *("dropout 0.3", "linear 512", "relu", "batchnorm"),
    *("dropout 0.3", "linear 256", "relu", "batchnorm"),
)
_SYSTEM_E = ("linear 128",)
_CNN48 = ModelSpec("cnn48", EMOTIONS, InputSpec(48, "grey", (0.508,), (0.255,)))

FULL: dict[str, ModelSpec] = {
    "gcvit_small": _spec("gcvit_small", 224, neck=_SYSTEM_A),
    "vit_tiny_patch16_224": _spec("vit_tiny_patch16_224", 224, half=True),
    "tf_efficientnetv2_s": _spec("tf_efficientnetv2_s", 224, neck=_SYSTEM_C),
    "vit_base_patch16_224.mae": _spec("vit_base_patch16_224.mae", 224),
    "swin_base_patch4_window7_224": _spec("swin_base_patch4_window7_224", 224, neck=_SYSTEM_E),
    "cnn48": _CNN48,
}
_SMALL_SWIN: dict[str, Any] = {
    "img_size": 64,
    "depths": (2, 2),
    "num_heads": (2, 4),
    "embed_dim": 32,
}
SMALL: dict[str, ModelSpec] = {
    "gcvit, small": _spec("gcvit_xxtiny", 64, neck=_SYSTEM_A, img_size=64),
    "vit_tiny, small": _spec("vit_tiny_patch16_224", 64, half=True, img_size=64, depth=2),
    "efficientnetv2, small": _spec("test_efficientnet", 64, neck=_SYSTEM_C),
    "vit_mae, small": _spec(
        "vit_base_patch16_224.mae", 64, img_size=64, depth=2, embed_dim=96, num_heads=3
    ),
    "swin, small": _spec(
        "swin_base_patch4_window7_224", 64, neck=_SYSTEM_E, window_size=4, **_SMALL_SWIN
    ),
    "cnn48": _CNN48,
}


def fitted(spec: ModelSpec, faces: FaceSamples) -> Checkpoint:
    """Make a network with random weights and fit its classifier to faces.

    Args:
        spec: Network.
        faces: Faces for the statistics of batch norm and for a ridge classifier.

    Returns:
        A checkpoint in memory.
    """
    torch.manual_seed(_SEED)
    model = ExpressionNet(spec).eval()
    # With batch norm left at mean 0 and variance 1, a deep network's signal explodes.
    deployed = DeployModule(Checkpoint(model))
    norms = [m for m in model.modules() if isinstance(m, torch.nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        norm.momentum = None
        norm.train()
    with torch.no_grad():
        for part in torch.split(torch.from_numpy(faces.images), 64) if norms else ():
            deployed(part)
    model.eval()
    _, embedding = DeployModule(Checkpoint(model)).run(faces.images)
    mean = embedding.mean(0)
    x = embedding - mean
    truth = np.eye(len(EMOTIONS))[[EMOTIONS.index(name) for name in faces.truth]] - 1 / len(
        EMOTIONS
    )
    # A lighter ridge would rely on features that hardly vary, which any rounding changes.
    gram = x.T @ x
    gram += _RIDGE * np.trace(gram) / len(gram) * np.eye(len(gram))
    weight = np.linalg.solve(gram, x.T @ truth)
    scale = 2 / (embedding @ weight - mean @ weight).std()
    classifier = model.head[1]
    assert isinstance(classifier, torch.nn.Linear)
    with torch.no_grad():
        classifier.weight.copy_(torch.from_numpy((scale * weight).T))
        classifier.bias.copy_(torch.from_numpy(-scale * (mean @ weight)))
        for parameter in model.parameters():  # as a checkpoint stores them
            if parameter.ndim > 1:
                parameter.copy_(parameter.half().float())
    return Checkpoint(model)
