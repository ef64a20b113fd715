"""The network as it is trained and deployed: input transform, timm backbone, head."""

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
    """What the network sees. mean and std are in units of 0..1, one per channel it takes."""

    size_px: int
    colour: Literal["grey", "rgb"]
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @property
    def channels(self) -> int:
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
    """Everything needed to build the network again: stored in the checkpoint's card.

    neck: layers between the backbone's pooled features and the classifier, in order: ``linear N``,
    ``batchnorm``, ``relu``, ``dropout P``. dropout: right before the classifier.
    """

    backbone: str
    labels: tuple[str, ...]
    input: InputSpec
    dropout: float = 0.0
    backbone_args: dict[str, Any] = field(default_factory=dict)
    neck: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def from_dict(data: dict[str, Any]) -> ModelSpec:
        """Read back what as_dict gave. Raises CheckpointError on anything missing or foreign."""
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
            raise CheckpointError(f"the card's model section is not usable: {error!r}") from error


class Normalise(nn.Module):
    """``[N, C, H, W]`` in 0..255, already in the network's colour, to normalised float."""

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
    "cache_dir", "checkpoint_path", "pretrained", "pretrained_cfg", "pretrained_cfg_overlay",
}  # fmt: skip
"""Arguments of timm.create_model by which it reads files or the network."""


class ExpressionNet(nn.Module):
    """Normalised ``[N, C, H, W]`` to ``(logits [N, classes], embedding [N, D])``.

    The embedding is what the classifier, a dropout and one linear layer, sees.
    """

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.spec = spec
        if read := sorted(_READS_FILES & set(spec.backbone_args)):
            raise RecipeError(
                f"backbone_args may not hold {', '.join(read)}: a card shall not read other files"
            )
        if not timm.is_model(spec.backbone):  # timm would look on a hub for "hf-hub:…"
            raise RecipeError(f"timm has no backbone named {spec.backbone!r}")
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
        # Some networks widen their features once more after pooling (mobilenetv3: 576 to 1024).
        width = getattr(self.backbone, "head_hidden_size", None) or self.backbone.num_features
        self.neck, self.embedding_dim = _neck(spec.neck, int(width))
        self.head = nn.Sequential(
            nn.Dropout(spec.dropout), nn.Linear(self.embedding_dim, len(spec.labels))
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        embedding = self.neck(self.backbone(x))
        return self.head(embedding), embedding


def _neck(layers: Sequence[str], width: int) -> tuple[nn.Sequential, int]:
    """The layers, and the width that they end with."""
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
    return sum(p.numel() for p in model.parameters())


def decay_groups(model: nn.Module, weight_decay: float) -> Sequence[dict[str, Any]]:
    """Optimiser groups: weights decay, biases and normalisation parameters do not."""
    decayed = [p for p in model.parameters() if p.requires_grad and p.ndim > 1]
    free = [p for p in model.parameters() if p.requires_grad and p.ndim <= 1]
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": free, "weight_decay": 0}]
