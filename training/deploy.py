"""The graph that leaves the workstation: everything between a resized crop and the answer."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d

from fer_edge.training.checkpoint import Checkpoint
from fer_edge.training.models.network import Normalise

# ITU-R BT.601 luma, the weights of OpenCV's BGR2GRAY, in BGR order.
_BGR_TO_GREY = (0.114, 0.587, 0.299)


class DeployModule(nn.Module):
    """uint8 ``[N, S, S, 3]`` BGR to float32 ``(probabilities [N, C], embedding [N, D])``.

    Colour, scaling, mean and std, layout, softmax and temperature are all in here, so that no
    backend can do them differently. The cast to float comes first: TensorRT refuses to transpose
    uint8.
    """

    grey: Tensor

    def __init__(self, checkpoint: Checkpoint) -> None:
        super().__init__()
        spec = checkpoint.spec.input
        self.is_grey = spec.colour == "grey"
        self.size_px = spec.size_px
        self.normalise = Normalise(spec)
        self.network = checkpoint.model
        self.temperature = checkpoint.temperature
        self.register_buffer("grey", torch.tensor(_BGR_TO_GREY).view(3, 1), persistent=False)
        self.eval()

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        x = images.to(torch.float32)
        if self.is_grey:
            # One channel has the same memory in NHWC and NCHW: a reshape, not a transpose.
            x = (x @ self.grey).reshape(-1, 1, self.size_px, self.size_px)
        else:
            x = x.flip(3).permute(0, 3, 1, 2)
        return self.answer(x)

    def answer(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """From float32 ``[N, C, S, S]`` in 0..255, in the network's own colour."""
        logits, embedding = self.network(self.normalise(x))
        return torch.softmax(logits / self.temperature, dim=1), embedding


class PlanarDeployModule(DeployModule):
    """The same for an engine that takes pictures in planes, and puts the colours in any order:
    float32 ``[N, 3, S, S]`` RGB in 0..255 to ``(probabilities [N, C], embedding [N, D])``."""

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        if self.is_grey:
            images = conv2d(images, self.grey.flip(0).view(1, 3, 1, 1))
        return self.answer(images)
