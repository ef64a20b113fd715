"""Picture of each augmentation of a recipe, drawn by the training code.

    python -m fer_edge.training.augment_sheet FILE.png

``python -m fer_edge.training.loop.incar`` draws the in-car effects.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click
import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from fer_edge.labels import EMOTIONS
from fer_edge.module_command import ModuleCommand
from fer_edge.preprocess import Image, read_image
from fer_edge.shipped import FACES
from fer_edge.training.config.schema import Augment
from fer_edge.training.loop.augment import augmentation, mixing
from fer_edge.training.loop.incar import write_png

SHOWN: dict[str, Augment] = {
    "crop_px": Augment(flip=0, crop_px=56),
    "resized_crop": Augment(flip=0, resized_crop=0.6),
    "flip": Augment(flip=0.5),
    "rotate_deg": Augment(flip=0, rotate_deg=12),
    "translate": Augment(flip=0, translate=0.06),
    "scale": Augment(flip=0, scale=0.15),
    "perspective": Augment(flip=0, perspective=1),
    "brightness": Augment(flip=0, brightness=0.25),
    "contrast": Augment(flip=0, contrast=0.25),
    "saturation": Augment(flip=0, saturation=0.5),
    "blur": Augment(flip=0, blur=1),
    "randaugment": Augment(flip=0, randaugment=2),
    "erase": Augment(flip=0, erase=1),
    "mixup": Augment(flip=0, mixup=0.2),
    "cutmix": Augment(flip=0, cutmix=1.0),
}
"""Each key alone, with the value that is drawn."""
_SIDE_PX, _DRAWS, _NAME_PX, _COLUMNS = 64, 4, 110, 2


def contact_sheet(out: Path) -> None:
    """Draw the sheet; it is the same each time.

    Each row has a composite face, unchanged and after one augmentation four times.

    Args:
        out: File to write, .png.
    """
    torch.manual_seed(2026)
    faces = [_face(label) for label in EMOTIONS]
    rows = [_row(name, spec, faces, i) for i, (name, spec) in enumerate(SHOWN.items())]
    rows += [np.full_like(rows[0], 255)] * (-len(rows) % _COLUMNS)
    height = len(rows) // _COLUMNS
    columns = [np.vstack(rows[i * height : (i + 1) * height]) for i in range(_COLUMNS)]
    sheet = cv2.cvtColor(np.hstack(columns), cv2.COLOR_BGR2GRAY)  # composite faces are grey
    write_png(out, sheet)


def _row(name: str, spec: Augment, faces: list[Tensor], row: int) -> Image:
    face = faces[row % len(faces)]
    tiles = [
        face,
        *(_mixed(spec, faces, row) if name in ("mixup", "cutmix") else _drawn(spec, face)),
    ]
    strip = torch.cat([_framed(tile) for tile in tiles], 2).permute(1, 2, 0).numpy()[:, :, ::-1]
    head = np.full((strip.shape[0], _NAME_PX, 3), 255, np.uint8)
    place = (4, strip.shape[0] // 2)
    cv2.putText(head, name, place, cv2.FONT_HERSHEY_SIMPLEX, 0.45, (0, 0, 0), 1, cv2.LINE_AA)
    return np.hstack([head, strip])


def _drawn(spec: Augment, face: Tensor) -> Iterator[Tensor]:
    change = augmentation(spec, _SIDE_PX)
    for _ in range(_DRAWS):
        yield face if change is None else change(face.clone())


def _mixed(spec: Augment, faces: list[Tensor], row: int) -> Iterator[Tensor]:
    """Yield a face mixed with another one."""
    mix = mixing(spec, len(faces))
    for draw in range(_DRAWS):
        pair = torch.stack([faces[row % len(faces)], faces[(row + 1 + draw) % len(faces)]])
        if mix is not None:
            pair = mix(pair.float(), torch.arange(2))[0]
        yield pair[0].round().to(torch.uint8)


def _face(label: str) -> Tensor:
    image = cv2.resize(read_image(FACES / f"{label}.png"), (_SIDE_PX, _SIDE_PX))
    return torch.from_numpy(image[:, :, ::-1].copy()).permute(2, 0, 1)


def _framed(tile: Tensor) -> Tensor:
    """Return a tile in a white frame; a smaller one is in the middle."""
    side = _SIDE_PX + 2 - tile.shape[-1]
    return F.pad(tile, (side // 2, side - side // 2, side // 2, side - side // 2), value=255)


@click.command("augment_sheet", cls=ModuleCommand)
@click.argument("out", type=click.Path(path_type=Path))
def main(out: Path) -> None:
    """Draw each augmentation on composite faces into OUT, a PNG."""
    contact_sheet(out)


if __name__ == "__main__":
    main()
