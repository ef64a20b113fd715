"""Network of this package: input transform, timm backbone, neck and classifier."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from fer_edge.errors import CheckpointError, RecipeError
from fer_edge.training.models import torchvision_compat  # noqa: F401  (before timm)

import timm  # isort: skip
from fer_edge.training.models import architectures  # noqa: F401  isort: skip  (registers ours)


@dataclass(frozen=True)
class InputSpec:
    """Input of a network.

    Attributes:
        size_px: Side of the square input in pixels.
        colour: Channels: one grey channel, or RGB.
        mean: Mean of each channel, in units of 0..1.
        std: Standard deviation of each channel, in units of 0..1.
    """

    size_px: int
    colour: Literal["grey", "rgb"]
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @property
    def channels(self) -> int:
        """Number of channels, 1 or 3."""
        return 1 if self.colour == "grey" else 3

    def __post_init__(self) -> None:
        if self.colour not in ("grey", "rgb"):
            raise RecipeError(f"expected input colour 'grey' or 'rgb', got {self.colour!r}")
        if not len(self.mean) == len(self.std) == self.channels:
            raise RecipeError(
                f"expected {self.channels} mean and std values for {self.colour} input, "
                f"got {len(self.mean)} and {len(self.std)}"
            )


@dataclass(frozen=True)
class ModelSpec:
    """Specification of a network; stored in the checkpoint's card.

    Attributes:
        backbone: timm name of the backbone.
        labels: Labels in the order of the logits.
        input: Input of the network.
        dropout: Dropout rate (0..1) before the classifier.
        backbone_args: Extra arguments for the backbone's constructor.
        neck: Layers between pooled features and classifier: ``linear N``, ``batchnorm``, ``relu``,
            ``dropout P``.
    """

    backbone: str
    labels: tuple[str, ...]
    input: InputSpec
    dropout: float = 0.0
    backbone_args: dict[str, Any] = field(default_factory=dict)
    neck: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return the specification as plain values for JSON."""
        return asdict(self)

    @staticmethod
    def from_dict(data: dict[str, Any]) -> ModelSpec:
        """Read what as_dict returned. Raises CheckpointError for missing or invalid values."""
        try:
            inputs = InputSpec(
                size_px=int(data["input"]["size_px"]),
                colour=data["input"]["colour"],
                mean=tuple(float(v) for v in data["input"]["mean"]),
                std=tuple(float(v) for v in data["input"]["std"]),
            )
            return ModelSpec(
                backbone=str(data["backbone"]),
                labels=tuple(str(v) for v in data["labels"]),
                input=inputs,
                dropout=float(data["dropout"]),
                backbone_args=dict(data["backbone_args"]),
                neck=tuple(str(v) for v in data.get("neck", ())),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(f"the card's model section is invalid: {error!r}") from error


class Normalise(nn.Module):
    """Normalisation of ``[N, C, H, W]`` in 0..255, in the network's colour."""

    mean: Tensor
    std: Tensor

    def __init__(self, spec: InputSpec) -> None:
        super().__init__()
        shape = (1, spec.channels, 1, 1)
        self.register_buffer("mean", 255 * torch.tensor(spec.mean).view(shape), persistent=False)
        self.register_buffer("std", 255 * torch.tensor(spec.std).view(shape), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.std


_READS_FILES = {
    "cache_dir",
    "checkpoint_path",
    "pretrained",
    "pretrained_cfg",
    "pretrained_cfg_overlay",
}
"""Arguments with which timm.create_model reads files or downloads."""


class ExpressionNet(nn.Module):
    """Expression classifier with logits ``[N, classes]`` and embedding ``[N, D]``.

    The input is normalised float. The embedding is the input of the classifier, which is a dropout
    and one linear layer.

    Args:
        spec: Specification of the network. Weights are random.

    Raises:
        RecipeError: timm cannot build the backbone, or the neck is invalid.
    """

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.spec = spec
        if read := sorted(_READS_FILES & set(spec.backbone_args)):
            raise RecipeError(
                f"expected backbone_args without {', '.join(read)}: a card must not read other "
                "files. Use model.weights or model.pretrained"
            )
        if not timm.is_model(spec.backbone):  # timm would look on a hub for "hf-hub:…"
            raise RecipeError(
                f"timm has no backbone named {spec.backbone!r}. List the names with "
                "timm.list_models()"
            )
        try:
            self.backbone = timm.create_model(
                spec.backbone,
                pretrained=False,
                num_classes=0,
                in_chans=spec.input.channels,
                **spec.backbone_args,
            )
        except (RuntimeError, TypeError, ValueError) as error:
            raise RecipeError(f"timm cannot build backbone {spec.backbone!r}: {error}") from error
        # Some networks widen their features again after pooling (mobilenetv3: 576 to 1024).
        width = getattr(self.backbone, "head_hidden_size", None) or self.backbone.num_features
        self.neck, self.embedding_dim = _neck(spec.neck, int(width))
        self.head = nn.Sequential(
            nn.Dropout(spec.dropout), nn.Linear(self.embedding_dim, len(spec.labels))
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        embedding = self.neck(self.backbone(x))
        return self.head(embedding), embedding


def _neck(layers: Sequence[str], width: int) -> tuple[nn.Sequential, int]:
    """Return the layers and the width of their output."""
    built: list[nn.Module] = []
    for layer in layers:
        match layer.split():
            case ["linear", size] if size.isdigit() and int(size) > 0:
                built.append(nn.Linear(width, int(size)))
                width = int(size)
            case ["batchnorm"]:
                built.append(nn.BatchNorm1d(width))
            case ["relu"]:
                built.append(nn.ReLU())
            case ["dropout", share] if _is_share(share):
                built.append(nn.Dropout(float(share)))
            case _:
                raise RecipeError(
                    f"expected a neck of 'linear N', 'batchnorm', 'relu' and 'dropout P', "
                    f"got {layer!r}"
                )
    return nn.Sequential(*built), width


def _is_share(text: str) -> bool:
    try:
        return 0 <= float(text) < 1
    except ValueError:
        return False


def parameter_count(model: nn.Module) -> int:
    """Return the number of parameters."""
    return sum(p.numel() for p in model.parameters())


def decay_groups(model: nn.Module, weight_decay: float) -> Sequence[dict[str, Any]]:
    """Return optimiser groups: weights decay, biases and normalisation parameters do not."""
    decayed = [p for p in model.parameters() if p.requires_grad and p.ndim > 1]
    free = [p for p in model.parameters() if p.requires_grad and p.ndim <= 1]
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": free, "weight_decay": 0}]
