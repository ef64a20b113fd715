"""Network of this package: input transform, timm backbone, neck and classifier."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor, nn

from fer_edge.errors import CheckpointError, FerEdgeError, RecipeError
from fer_edge.labels import check_label_list
from fer_edge.shown import shown
from fer_edge.training.models import torchvision_compat  # noqa: F401  (before timm)

import timm  # isort: skip
from fer_edge.training.models import architectures  # noqa: F401  isort: skip  (registers ours)

T = TypeVar("T")


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
            raise RecipeError(f"expected input colour 'grey' or 'rgb', got {shown(self.colour)}")
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
            section = data["input"]
            spec = ModelSpec(
                backbone=_text(data["backbone"]),
                labels=_tuple(data["labels"], _text),
                input=InputSpec(
                    size_px=_whole(section["size_px"]),
                    colour=_text(section["colour"]),  # type: ignore[arg-type]
                    mean=_tuple(section["mean"], _number),
                    std=_tuple(section["std"], _number),
                ),
                dropout=_number(data["dropout"]),
                backbone_args=_named(data["backbone_args"]),
                neck=_tuple(data.get("neck", ()), _text),
            )
            check_spec(spec)
        except (LookupError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise CheckpointError(f"the card's model section is invalid: {error}") from error
        return spec


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"expected a text, got {shown(value)}")
    return value


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"expected a number, got {shown(value)}")
    return float(value)


def _whole(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"expected a whole number, got {shown(value)}")
    return value


def _named(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TypeError(f"expected named values, got {shown(value)}")
    return value


def _tuple(values: Any, convert: Callable[[Any], T]) -> tuple[T, ...]:
    if not isinstance(values, list | tuple):
        raise TypeError(f"expected a list, got {shown(values)}")
    return tuple(map(convert, values))


def check_spec(spec: ModelSpec) -> None:
    """Check the values of a specification, before any memory is taken for the network.

    Raises:
        RecipeError: A value is out of range, or an argument of the backbone is not a plain value.
        LabelError: A label is empty, doubled, or has characters that cannot be printed.
    """
    check_label_list(spec.labels)
    if not 2 <= len(spec.labels) <= _MOST_LABELS:
        raise RecipeError(f"expected 2 to {_MOST_LABELS} labels, got {len(spec.labels)}")
    low, high = _SIZES_PX
    if not low <= spec.input.size_px <= high:
        raise RecipeError(
            f"expected input.size_px between {low} and {high}, got {shown(spec.input.size_px)}"
        )
    if not all(map(math.isfinite, (*spec.input.mean, *spec.input.std))):
        raise RecipeError("expected finite values in input.mean and input.std")
    if not all(std > 0 for std in spec.input.std):
        raise RecipeError(f"expected input.std above 0, got {spec.input.std}")
    if not 0 <= spec.dropout < 1:
        raise RecipeError(f"expected model.dropout from 0 to below 1, got {shown(spec.dropout)}")
    if len(spec.neck) > _MOST_LAYERS:
        raise RecipeError(f"expected at most {_MOST_LAYERS} layers in the neck")
    if not _is_plain(spec.backbone_args):
        raise RecipeError(
            "expected numbers, texts, and short lists or named values of them in "
            f"model.backbone_args, got {shown(spec.backbone_args)}"
        )


def _is_plain(value: Any, depth: int = 0) -> bool:
    """Return True for a value that a constructor of timm can need."""
    if value is None or isinstance(value, bool):
        return True
    if isinstance(value, int | float):
        return math.isfinite(value) and abs(value) <= _MOST_NUMBER
    if isinstance(value, str):
        return len(value) <= _MOST_TEXT and value.isprintable()
    if depth >= 3 or not isinstance(value, list | tuple | dict) or len(value) > _MOST_ITEMS:
        return False
    inner = [*value, *value.values()] if isinstance(value, dict) else value
    named = not isinstance(value, dict) or all(isinstance(key, str) for key in value)
    return named and all(_is_plain(item, depth + 1) for item in inner)


_SIZES_PX = (16, 1024)
_MOST_LABELS = 1000
_MOST_LAYERS = 16
_MOST_WIDTH = 65_536
"""Largest width of a layer of the neck."""
_MOST_NUMBER = 1_000_000
_MOST_TEXT = 100
_MOST_ITEMS = 64


_PIXELS_PER_THREAD = 2**16
_GPU_THREADS = 64


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


def faces_at_once(size_px: int, device: torch.device) -> int:
    """Return the number of faces that a network predicts fastest at once.

    On a CPU, the numbers of a layer should stay in the caches (docs/decisions/0071-kept-memory.md).
    A GPU needs more faces to be busy.

    Args:
        size_px: Side of the network's input, in pixels.
        device: Device of the network.
    """
    threads = torch.get_num_threads() if device.type == "cpu" else _GPU_THREADS
    return max(1, threads * _PIXELS_PER_THREAD // size_px**2)


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
        check_spec(spec)
        if read := sorted(_READS_FILES & set(spec.backbone_args)):
            raise RecipeError(
                f"expected backbone_args without {', '.join(read)}: a card must not read other "
                "files. Use model.weights or model.pretrained"
            )
        if not timm.is_model(spec.backbone):  # timm would look on a hub for "hf-hub:…"
            raise RecipeError(
                f"timm has no backbone named {shown(spec.backbone)}. List the names with "
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
            # Some networks widen their features again after pooling (mobilenetv3: 576 to 1024).
            # A network of feature maps (features_only) has no such number.
            width = getattr(self.backbone, "head_hidden_size", None) or self.backbone.num_features
        except FerEdgeError:
            raise
        except Exception as error:  # timm asserts, looks up and divides by its arguments
            raise RecipeError(
                f"timm cannot build backbone {spec.backbone!r} with {shown(spec.backbone_args)}: "
                f"{type(error).__name__}: {str(error)[:200]}. Check model.backbone_args"
            ) from error
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
            case ["linear", size] if _is_width(size):
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
                    f"got {shown(layer)}"
                )
    return nn.Sequential(*built), width


def _is_width(text: str) -> bool:
    return re.fullmatch("[0-9]{1,6}", text) is not None and 0 < int(text) <= _MOST_WIDTH


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
