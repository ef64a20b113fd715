"""Held-out faces, which select the best epoch and fit the calibration."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from fer_edge.training.config.from_yaml import build
from fer_edge.training.config.schema import InCar
from fer_edge.training.data.faces import LabelledFace
from fer_edge.training.loop.dataset import FaceDataset, predict_logits
from fer_edge.training.loop.incar import Change, each_of, one_of
from fer_edge.training.loop.targets import indices
from fer_edge.training.models.network import InputSpec

_SEED = 0
_KEPT_BYTES = 2**27
"""Largest size in bytes of the faces that stay in memory. They are kept as they are, and once more
under an effect."""


class _KeptFaces(FaceDataset):
    """Faces that are read and changed once, if all of them fit in ``_KEPT_BYTES``."""

    def __init__(
        self, faces: list[LabelledFace], spec: InputSpec, change: Change | None = None
    ) -> None:
        super().__init__(faces, None, spec, change)
        self._fit = len(faces) * spec.channels * spec.size_px**2 <= _KEPT_BYTES
        self._items: dict[int, tuple[Tensor, Tensor]] = {}

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        if (item := self._items.get(index)) is None:
            item = super().__getitem__(index)
            if self._fit:
                self._items[index] = item
        return item


class HeldOut:
    """Held-out faces, as they are and under the in-car effects of a recipe.

    A network that is trained for a car is judged in it too. Each face counts once as it is, and
    once under an effect that is drawn by the shares. Without effects, it counts once.

    Args:
        faces: Labelled faces that the network is not trained on.
        spec: Input of the network.
        incar: Shares of the effects.
    """

    def __init__(self, faces: list[LabelledFace], spec: InputSpec, incar: InCar):
        self.faces = faces
        effect = one_of(incar)
        self._plain = _KeptFaces(faces, spec)
        self._changed = _KeptFaces(faces, spec, effect) if effect else None
        self._each = [FaceDataset(faces, None, spec, each) for each in each_of(incar)]

    def logits(self, net: nn.Module, device: torch.device) -> tuple[Tensor, Tensor]:
        """Return logits of the faces as they are, and of all that count.

        The effects are the same at each call, and leave torch's random numbers alone.

        Args:
            net: Network on ``device``.
            device: Device to compute on.

        Returns:
            Logits float32 ``[N, classes]``, and the same followed by those under an effect,
            ``[N or 2 N, classes]``.
        """
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(_SEED)
            plain = predict_logits(net, self._plain, device)
            if self._changed is None:
                return plain, plain
            return plain, torch.cat([plain, predict_logits(net, self._changed, device)])

    def under_each_effect(self, net: nn.Module, device: torch.device) -> Iterator[Tensor]:
        """Return the logits of all faces under each effect, float32 ``[N, classes]``.

        Arguments and random numbers are those of ``logits``.
        """
        for faces in self._each:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(_SEED)
                yield predict_logits(net, faces, device)

    def truth(self, labels: tuple[str, ...]) -> Tensor:
        """Return the class indices of all that count, int64 ``[N or 2 N]``."""
        return indices(self.faces, labels).repeat(1 if self._changed is None else 2)


def effects_of(facts: dict[str, Any]) -> InCar:
    """Return the in-car effects of the recipe in a checkpoint's card; none without a recipe.

    Raises RecipeError for a card with other keys.
    """
    value: Any = facts
    for key in ("recipe", "augment", "incar"):
        value = value.get(key) if isinstance(value, dict) else None
    return InCar() if value is None else build(InCar, value, "recipe.augment.incar")
