"""Deployed graph: from a resized crop to probabilities and embedding."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import conv2d

from fer_edge.errors import CheckpointError
from fer_edge.training.checkpoint import Checkpoint
from fer_edge.training.models.network import Normalise, faces_at_once
from fer_edge.training.models.quantized import QuantizedNet

Floats = NDArray[np.float32]

_BGR_TO_GREY = (1868 / 16384, 9617 / 16384, 4899 / 16384)
"""ITU-R BT.601 luma in the fixed point of OpenCV's BGR2GRAY, in BGR order.

float32 holds the products with bytes and their sum without rounding: every engine gets the same.
"""


class DeployModule(nn.Module):
    """Deployed graph of a checkpoint, for uint8 BGR input.

    Maps uint8 ``[N, S, S, 3]`` BGR to float32 ``(probabilities [N, C], embedding [N, D])``. The
    graph contains colour conversion, scaling, mean and std, layout, temperature and softmax, so
    that all backends compute the same. It casts to float first: TensorRT cannot transpose uint8.

    Args:
        checkpoint: Checkpoint whose network the graph uses; the weights are shared.
    """

    grey: Tensor

    def __init__(self, checkpoint: Checkpoint) -> None:
        super().__init__()
        spec = checkpoint.spec.input
        self.is_grey = spec.colour == "grey"
        self.rounds_grey = self.is_grey and isinstance(checkpoint.model, QuantizedNet)
        self.size_px = spec.size_px
        self.normalise = Normalise(spec)
        self.network = checkpoint.model
        self.temperature = checkpoint.temperature
        self.register_buffer("grey", torch.tensor(_BGR_TO_GREY).view(1, 3), persistent=False)
        self.eval()

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return probabilities ``[N, C]`` and embedding ``[N, D]`` of uint8 BGR images."""
        x = images.to(torch.float32)
        if self.is_grey:
            # A row times planes: OpenVINO needs six times as long for pixels times a column.
            planes = x.flatten(1, 2).transpose(1, 2)
            grey = torch.unflatten(self.grey @ planes, 2, (self.size_px, self.size_px))
            x = self.whole(grey)
        else:
            x = x.flip(3).permute(0, 3, 1, 2)
        return self.answer(x)

    @torch.inference_mode()
    def run(self, images: NDArray[np.uint8]) -> tuple[Floats, Floats]:
        """Predict any number of faces on the CPU.

        Args:
            images: Faces, uint8 ``[N, S, S, 3]`` BGR.

        Returns:
            Probabilities float32 ``[N, C]`` and embeddings float32 ``[N, D]``.
        """
        count = faces_at_once(self.size_px, torch.device("cpu"))
        parts = [self(part) for part in torch.split(torch.from_numpy(images), count)]
        probabilities, embeddings = (torch.cat(one) for one in zip(*parts, strict=True))
        return probabilities.numpy(), embeddings.numpy()

    def whole(self, grey: Tensor) -> Tensor:
        """Round grey values for an int8 network, whose input then lies halfway between no steps."""
        return grey.round() if self.rounds_grey else grey

    def answer(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the outputs for float32 ``[N, C, S, S]`` in 0..255."""
        logits, embedding = self.network(self.normalise(x))
        return torch.softmax(logits / self.temperature, dim=1), embedding


def check_answers(probabilities: Floats) -> None:
    """Refuse a checkpoint whose probabilities are not numbers, before they are compared.

    Raises:
        CheckpointError: Some of them are not.
    """
    wrong = int((~np.isfinite(probabilities)).any(1).sum())
    if wrong:
        raise CheckpointError(
            f"the checkpoint's answers to {wrong:,} of {len(probabilities):,} faces are not "
            "numbers: its weights are too large. Train again with a smaller --set fit.lr=…"
        )


class PlanarDeployModule(DeployModule):
    """Deployed graph for engines with planar RGB input, such as Core ML.

    Maps float32 ``[N, 3, S, S]`` RGB in 0..255 to ``(probabilities [N, C], embedding [N, D])``.
    """

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        if self.is_grey:
            images = self.whole(conv2d(images, self.grey.flip(1).view(1, 3, 1, 1)))
        return self.answer(images)
