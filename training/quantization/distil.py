"""Distillation of the float network into the int8 one: no labels, fixed ranges, moving weights.

The int8 network learns the answers of the float network (Hinton et al., 2015) while it computes
with rounded numbers. Gradients pass the rounding unchanged (Bengio et al., 2013).
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from fer_edge.progress import Step
from fer_edge.training.loop.dataset import FaceDataset
from fer_edge.training.models.depthwise import strided_depthwise
from fer_edge.training.models.network import Normalise
from fer_edge.training.models.quantized import QuantizedNet, conv2d_arguments
from fer_edge.training.quantization.exact import ExactScales

TEMPERATURE = 2.0
"""Divisor of both networks' logits: the small probabilities teach as well."""
_MOST_BYTES = 1 << 30
"""Largest size in bytes of a set of faces in memory, as uint8 pixels."""
_SHIFT = 1 / 16
"""Largest shift of a face, as a share of its side."""


@dataclass(frozen=True)
class Distillation:
    """Settings of a distillation.

    Attributes:
        epochs: Passes over the faces.
        batch: Faces in a step.
        lr: Highest learning rate of Adam's one-cycle schedule.
        seed: Seed of order, flips and shifts.
    """

    epochs: int = 2
    batch: int = 64
    lr: float = 5e-5
    seed: int = 2026


class Distiller:
    """Weights, optimiser and schedule of one distillation.

    Args:
        net: int8 network with its ranges; its weights learn.
        teacher: Float network.
        faces: Faces to learn from.
        settings: Settings.
        device: Device to compute on. ``net`` is moved there.
    """

    def __init__(
        self,
        net: QuantizedNet,
        teacher: nn.Module,
        faces: FaceDataset,
        settings: Distillation,
        device: torch.device,
    ) -> None:
        self.net, self.settings, self._faces, self._device = net.to(device), settings, faces, device
        self._teacher = copy.deepcopy(teacher).eval()
        self._teacher.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._normalise = Normalise(faces.spec).to(device)
        self._learning = _for_training(net)
        self._exact = ExactScales(net)
        self._pixels: dict[int, Tensor] | None = {} if _fits(faces) else None
        weights = [p for n, p in net.body.named_parameters() if not _is_scale(n)]
        self._optimizer = torch.optim.Adam(weights, lr=settings.lr)
        self.steps = max(len(faces) // settings.batch, 1)
        self._schedule = torch.optim.lr_scheduler.OneCycleLR(
            self._optimizer,
            settings.lr,
            total_steps=self.steps * settings.epochs + 1,
            pct_start=0.1,
        )

    def epoch(self, number: int, step: Step) -> float:
        """Train an epoch, counted from 0, and return its mean loss."""
        generator = torch.Generator().manual_seed(self.settings.seed + number)
        total = 0.0
        for done, pixels in enumerate(self._batches(generator)):
            faces = self._normalise(_changed(pixels.to(self._device).float(), generator))
            total += self._learn(faces.contiguous(memory_format=torch.channels_last))
            step(f"Epoch {number + 1} of {self.settings.epochs}", done + 1, self.steps)
        self._exact.set_weights()
        self._exact.set_biases()
        return total / self.steps

    def _learn(self, faces: Tensor) -> float:
        self._exact.set_weights()
        with torch.autocast(self._device.type, torch.bfloat16):
            with torch.no_grad():
                expected = self._teacher(faces)[0].float()
            answer = self._learning(faces)[0].float()
        loss = functional.kl_div(
            (answer / TEMPERATURE).log_softmax(1),
            (expected / TEMPERATURE).softmax(1),
            reduction="batchmean",
        ) * (TEMPERATURE**2)
        self._optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self._optimizer.step()
        self._schedule.step()
        return float(loss.detach())

    def _batches(self, generator: torch.Generator) -> Iterator[Tensor]:
        order = torch.randperm(len(self._faces), generator=generator).tolist()
        size = self.settings.batch
        for first in range(0, self.steps * size, size):
            yield torch.stack([self._face(index) for index in order[first : first + size]])

    def _face(self, index: int) -> Tensor:
        """Return a face's pixels; small sets stay in memory after the first epoch."""
        if self._pixels is None:
            return self._faces[index][0]
        if index not in self._pixels:
            self._pixels[index] = self._faces[index][0]
        return self._pixels[index]

    def state(self) -> dict[str, Any]:
        """Return everything that the next epoch starts from."""
        return {
            "net": self.net.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "schedule": self._schedule.state_dict(),
        }

    def load(self, state: dict[str, Any]) -> None:
        """Go on from what ``state`` returned."""
        self.net.load_state_dict(state["net"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._schedule.load_state_dict(state["schedule"])


def _fits(faces: FaceDataset) -> bool:
    return len(faces) * faces.spec.channels * faces.spec.size_px**2 <= _MOST_BYTES


def _is_scale(name: str) -> bool:
    return name.startswith(("scales.", "weight_scales."))


def _changed(pixels: Tensor, generator: torch.Generator) -> Tensor:
    """Flip half of the batches, and shift each by a few pixels."""
    if torch.rand((), generator=generator) < 0.5:
        pixels = pixels.flip(3)
    side = pixels.shape[3]
    most = max(int(side * _SHIFT), 1)
    right, down = torch.randint(0, 2 * most + 1, (2,), generator=generator).tolist()
    wide = functional.pad(pixels, (most,) * 4, mode="replicate")
    return wide[:, :, down : down + side, right : right + side]


def _for_training(net: QuantizedNet) -> nn.Module:
    """Return a graph with the same parameters whose strided depthwise layers train fast on CPUs."""
    graph = copy.deepcopy(net.body.graph)
    for node in graph.nodes:
        if node.target is not torch.ops.aten.conv2d.default:
            continue
        x, weight, bias, stride, padding, dilation, groups = conv2d_arguments(node.args)
        if max(stride) > 1 and groups > 1 and set(dilation) == {1}:
            node.target, node.args = strided_depthwise, (x, weight, bias, stride, padding, groups)
    return torch.fx.GraphModule(net.body, graph)
