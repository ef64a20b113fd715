"""Faces as network input, and predictions for them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import cv2
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, default_collate

from fer_edge.cores import usable_cores
from fer_edge.errors import DataError
from fer_edge.preprocess import CropRule, to_batch
from fer_edge.training.data.faces import LabelledFace
from fer_edge.training.models.network import InputSpec, Normalise, faces_at_once

_FEW, _READERS = 5_000, 8
"""Faces from which on several processes read for a GPU, and their largest number."""


class FaceDataset(Dataset[tuple[Tensor, Tensor]]):
    """Faces as network input, with targets.

    Items are uint8 ``[C, S, S]`` in the network's colour, and float32 ``[classes]``.

    Args:
        faces: Faces to read.
        targets: Targets float32 ``[N, classes]``; None for faces that are only predicted.
        spec: Input of the network.
        change: Augmentation of each image, or None.
    """

    def __init__(
        self,
        faces: list[LabelledFace],
        targets: Tensor | None,
        spec: InputSpec,
        change: Callable[[Tensor], Tensor] | None = None,
    ):
        self.faces, self.spec, self.change = faces, spec, change
        self.targets = torch.zeros(len(faces)) if targets is None else targets
        self.rule = CropRule(spec.size_px)

    def __len__(self) -> int:
        return len(self.faces)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        image = to_batch([self.faces[index].read()], self.rule)[0]
        if self.spec.colour == "grey":
            pixels = torch.from_numpy(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY))[None]
        else:
            pixels = torch.from_numpy(image[:, :, ::-1].copy()).permute(2, 0, 1)
        return (self.change(pixels) if self.change else pixels), self.targets[index]

    def __getitems__(self, indices: Sequence[int]) -> list[tuple[Tensor, Tensor]] | DataError:
        """Return the items of a batch, or the error of one; ``batches`` raises it.

        torch would add the traceback of the process that loads faces to its message.
        """
        try:
            return [self[index] for index in indices]
        except DataError as error:
            return error


def collate(items: list[tuple[Tensor, Tensor]] | DataError) -> Any:
    """Return the images and the targets of a batch as tensors, or its error."""
    return items if isinstance(items, DataError) else default_collate(items)


def batches(loader: Iterable[Any]) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the batches of a loader with ``collate``.

    Raises DataError for a picture that cannot be read.
    """
    for batch in loader:
        if isinstance(batch, DataError):
            raise batch
        yield batch


def on_one_core(worker: int) -> None:
    """Let a process that loads faces use one core; OpenCV would take all of them.

    0 means no threads. 1 would end those of the process that this one is a copy of, and wait for
    them forever.
    """
    cv2.setNumThreads(0)


def fastest_device() -> torch.device:
    """Return the NVIDIA GPU if torch can use one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@torch.no_grad()
def predict_logits(net: nn.Module, faces: FaceDataset, device: torch.device) -> Tensor:
    """Return logits float32 ``[N, classes]`` on the CPU, computed in fp32.

    ``net`` is on ``device``. TF32, torch's default for convolutions on a GPU, stays off: it has 10
    bits of fp32's 23.
    """
    net.eval()
    normalise = Normalise(faces.spec).to(device)
    readers = 0 if device.type == "cpu" or len(faces) < _FEW else min(_READERS, usable_cores())
    batch = faces_at_once(faces.spec.size_px, device)
    loader = DataLoader(
        faces,
        batch_size=batch,
        num_workers=readers,
        collate_fn=collate,
        worker_init_fn=on_one_core,
    )
    with torch.backends.cudnn.flags(allow_tf32=False):
        return torch.cat(
            [net(normalise(x.to(device).float()))[0].float().cpu() for x, _ in batches(loader)]
        )
