"""Makes the .tflite files of this folder: ``python tests/backends/litert/make_fixtures.py``.

It needs the conversion environment (``fer-edge setup-converter litert``). The network has 48x48
pixels, 6,000 weights of chance and no training.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from fer_edge.converters.base import ConversionInput, converter
from fer_edge.converters.onnx_graph.export import export_onnx
from fer_edge.shipped import DEFAULT_CHECKPOINT
from fer_edge.training.checkpoint import Checkpoint, load_checkpoint
from fer_edge.training.models.network import ExpressionNet, ModelSpec


class Small(nn.Module):
    """Network of four layers with the outputs of an ExpressionNet."""

    embedding_dim = 32

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.spec = replace(spec, input=replace(spec.input, size_px=48))
        self.body = nn.Sequential(
            *(nn.Conv2d(1, 16, 3, 2, 1), nn.ReLU6()),
            *(nn.Conv2d(16, 16, 3, 2, 1, groups=16), nn.ReLU6()),
            *(nn.Conv2d(16, 32, 3, 2, 1), nn.ReLU6()),
        )
        self.head = nn.Linear(32, 7)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        embedding = self.body(x).mean((2, 3))
        return self.head(embedding), embedding


def small() -> Checkpoint:
    """The shipped checkpoint with the small network."""
    torch.manual_seed(0)
    shipped = load_checkpoint(DEFAULT_CHECKPOINT)
    model = Small(shipped.spec).eval()
    with torch.no_grad():
        model.head.weight.mul_(40)  # answers that differ from face to face
    return replace(shipped, model=cast(ExpressionNet, model))


def main() -> None:
    """Write the files."""
    checkpoint = small()
    faces = np.random.default_rng(1).integers(0, 256, (32, 48, 48, 3), np.uint8)
    source = ConversionInput(checkpoint, export_onnx(checkpoint), faces)
    for precision in converter("litert").PRECISIONS:
        artifact = converter("litert").build(source, precision, {})
        data = artifact.files[artifact.entry]
        Path(__file__).with_name(f"{precision}.tflite").write_bytes(data)
        print(precision, len(data), dict(artifact.needs))


if __name__ == "__main__":
    main()
