"""Simulated in-car effects on faces: light, noise, blur, resolution, pose, glasses and masks.

    python -m fer_edge.training.loop.incar docs/images/in-car.png

draws the contact sheet from the composite faces that ship. Each effect takes and returns float32
``[C, S, S]`` in 0..1, C 1 or 3, and draws its strength from torch's random numbers. Positions
assume a face that fills its crop, as in FER2013: eyes at 0.37 of the height, mouth at 0.75.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import click
import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from fer_edge.atomic import write_file
from fer_edge.errors import DataError
from fer_edge.labels import EMOTIONS
from fer_edge.module_command import ModuleCommand
from fer_edge.preprocess import Image, read_image
from fer_edge.shipped import FACES
from fer_edge.training.config.schema import InCar

Change = Callable[[Tensor], Tensor]

_FEWEST_CAMERA_PX = 40
"""Pixels of the camera across a face at night, at least."""
_SHEET_SCALE = 2
"""Side in pixels of a face's pixel on the contact sheet."""
_TIP, _SIDES, _ENDS = 0.1, 1.9, 0.5
"""Coefficients of a face's depth in its crop, in sides.

The depth is tip - sides * x^2 - ends * y^2, from the middle. Fitted to the mean of MediaPipe's 478
landmarks over 151 frontal faces of FER2013, with an RMS error of 0.05. The face turns about a
vertical axis at depth 0, near the mean depth of eyes and mouth, so that they stay in the middle.
"""


def in_car(spec: InCar) -> list[Change]:
    """Return the recipe's effects on uint8 ``[C, S, S]``, in fixed order."""
    shares = asdict(spec).items()
    return [partial(_sometimes, CHANGES[name], share) for name, share in shares if share]


def one_of(spec: InCar) -> Change | None:
    """Return a change of uint8 ``[C, S, S]`` by one random effect, or None.

    The shares weigh the effects; without any, the result is None.
    """
    shares = {name: share for name, share in asdict(spec).items() if share}
    if not shares:
        return None
    changes = [CHANGES[name] for name in shares]
    return partial(_drawn, changes, torch.tensor(list(shares.values())))


def each_of(spec: InCar) -> list[Change]:
    """Return changes of uint8 ``[C, S, S]``, one per effect, in fixed order."""
    names = [name for name, share in asdict(spec).items() if share]
    return [partial(changed, CHANGES[name]) for name in names]


def _sometimes(change: Change, share: float, pixels: Tensor) -> Tensor:
    return changed(change, pixels) if float(torch.rand(())) < share else pixels


def _drawn(changes: Sequence[Change], weights: Tensor, pixels: Tensor) -> Tensor:
    return changed(changes[int(torch.multinomial(weights, 1))], pixels)


def changed(change: Change, pixels: Tensor) -> Tensor:
    """Apply one effect to uint8 ``[C, S, S]``; round and clip."""
    return (255 * change(pixels.float() / 255)).round().clamp(0, 255).to(torch.uint8)


def as_image(pixels: Tensor) -> NDArray[Any]:
    """Return ``[C, S, S]`` for OpenCV: ``[S, S]`` of one channel, else ``[S, S, C]``."""
    if len(pixels) == 1:
        return np.ascontiguousarray(pixels[0].numpy())
    return np.ascontiguousarray(pixels.permute(1, 2, 0).numpy())


def as_pixels(image: NDArray[Any]) -> Tensor:
    """Return an image of OpenCV as ``[C, S, S]``; see ``as_image``."""
    pixels = torch.from_numpy(image)
    return pixels[None] if image.ndim == 2 else pixels.permute(2, 0, 1)


def near_infrared(x: Tensor) -> Tensor:
    """Simulate a lamp beside the camera at 850 or 940 nm.

    The image has no colour, bright skin of little contrast, and dark edges. The red channel is
    the closest to near infrared and weighs most.
    """
    if x.shape[0] == 3:
        x = torch.einsum("c,chw->hw", torch.tensor([0.7, 0.25, 0.05]), x).expand(3, -1, -1)
    x = x.clamp_min(0).pow(_between(0.55, 0.8))
    across, down = _places(x)
    away = ((across - _between(0.35, 0.65)) / 0.75) ** 2 + (
        (down - _between(0.35, 0.6)) / 0.85
    ) ** 2
    return x * _between(0.95, 1.15) / (1 + _between(0.8, 2.0) * away) ** 2


def night_noise(x: Tensor) -> Tensor:
    """Simulate a camera at night: shot noise, read noise, low light.

    The noise has no colour: such cameras record none at night, or smooth it away. It arises in
    the camera's pixels and is enlarged with them, so the grain of a distant face is coarse.
    """
    side = min(x.shape[-1], round(_between(_FEWEST_CAMERA_PX, 1.25 * x.shape[-1])))
    seen = F.interpolate(x[None], (side, side), mode="area")[0]
    photons = _between(10, 50)  # of a white pixel
    luma = seen.mean(0, keepdim=True).clamp(0, 1)
    shot = torch.poisson(luma * photons) / photons - luma
    noisy = (seen + shot) * _between(0.35, 0.75) + _between(0.01, 0.05) * torch.randn_like(luma)
    return F.interpolate(noisy[None], x.shape[1:], mode="bilinear", align_corners=False)[0]


def sun_glare(x: Tensor) -> Tensor:
    """Simulate a low sun at the image's edge: saturated disc and haze."""
    across, down = _places(x)
    angle = _between(0, 2 * np.pi)
    sun_x, sun_y = 0.5 + 0.6 * np.cos(angle), 0.5 + 0.6 * np.sin(angle)
    away = ((across - sun_x) ** 2 + (down - sun_y) ** 2).sqrt()
    disc = torch.exp(-((away / _between(0.2, 0.4)) ** 2)) * _between(0.6, 1.1)
    haze = _between(0.1, 0.3)
    return x * (1 - haze) + haze + disc


def half_lit(x: Tensor) -> Tensor:
    """Simulate light through one window: half of the face nearly dark."""
    across, down = _places(x)
    angle = _between(-0.5, 0.5) + (np.pi if float(torch.rand(())) < 0.5 else 0.0)
    along = (across - 0.5) * np.cos(angle) + (down - 0.5) * np.sin(angle)
    lit = torch.sigmoid(along * _between(12, 30))
    dark, bright = _between(0.12, 0.4), _between(1.0, 1.3)
    return x * (dark + (bright - dark) * lit)


def sunglasses(x: Tensor) -> Tensor:
    """Add sunglasses with two dark, slightly transparent lenses."""
    across, down = _places(x)
    middle, height = _between(0.46, 0.54), _between(0.34, 0.41)
    half, tall = _between(0.15, 0.19), _between(0.1, 0.14)
    apart = _between(0.19, 0.22)
    mask = torch.zeros_like(across)
    for side in (-1, 1):
        centre = middle + side * apart
        mask = mask.maximum(
            _soft(1 - ((across - centre).abs() / half) ** 3 - ((down - height).abs() / tall) ** 3)
        )
    bar = (down - (height - 0.5 * tall)).abs() < 0.02
    mask = mask.maximum(bar.float())
    tint = _between(0.02, 0.15)
    shining = tint + _between(0.05, 0.3) * x
    return x * (1 - mask) + shining * mask


def mask(x: Tensor) -> Tensor:
    """Add a light or dark face mask with a few folds."""
    across, down = _places(x)
    middle, top = _between(0.46, 0.54), _between(0.53, 0.6)
    width = _between(0.36, 0.44)
    nose = top + 0.1 * ((across - middle) / width) ** 2
    sides = 1 - ((across - middle).abs() / (width * (1.15 - 0.35 * (down - top)))) ** 4
    inside = _soft(8 * (down - nose)) * _soft(sides)
    colour = torch.full((x.shape[0], 1, 1), _between(0.08, 0.95))
    if x.shape[0] == 3:  # white, blue or black, never far from grey
        colour = colour + torch.tensor([-0.04, 0.0, 0.06]).view(3, 1, 1) * _between(0, 1)
    folds = 1 - 0.12 * (0.5 + 0.5 * torch.sin(down * _between(40, 60))) * (down > top)
    # The mask takes its light from the upper face, column by column, so that no trace of the
    # mouth remains.
    forehead = x[:, : x.shape[1] // 2].mean((0, 1))[None]
    light = 0.75 + 0.5 * F.avg_pool1d(forehead, 9, 1, 4, count_include_pad=False)
    return x * (1 - inside) + (colour * folds * light) * inside


def turned_head(x: Tensor) -> Tensor:
    """Simulate a head that is turned by 10 to 30 degrees to either side."""
    angle = _between(10, 30) * (1 if float(torch.rand(())) < 0.5 else -1)
    return turned(x, angle)


def turned(x: Tensor, angle_deg: float) -> Tensor:
    """Turn the face in a crop about its vertical axis.

    The face is a paraboloid that is seen from far away. A point at column x and depth z moves to
    ``x cos(angle) + z sin(angle)``. Pixels from outside the crop repeat its edge.

    Args:
        x: Face crop, float32 ``[C, S, S]``.
        angle_deg: Angle in degrees. With a positive one, the nose moves to the right.
    """
    across, down = (places.numpy() - 0.5 for places in _places(x))
    sin, cos = np.sin(np.deg2rad(angle_deg)), np.cos(np.deg2rad(angle_deg))
    to = across - (_TIP - _ENDS * down**2) * sin
    # The nearer root of to = x cos - sides sin x^2. No root: beyond the face's outline.
    root = np.sqrt(np.maximum(cos**2 - 4 * _SIDES * sin * to, 0))
    source = 2 * to / (cos + root)
    columns, rows = ((v + 0.5) * (x.shape[-1] - 1) for v in (source, down))
    image = cv2.remap(
        as_image(x),
        columns.astype(np.float32),
        rows.astype(np.float32),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return as_pixels(image)


def motion_blur(x: Tensor) -> Tensor:
    """Simulate motion blur of a turning head or a bump.

    The line has 6 to 16 % of the side, in any direction.
    """
    size = max(3, round(_between(0.06, 0.16) * x.shape[-1])) | 1
    angle, reach = _between(0, np.pi), size // 2
    kernel = np.zeros((size, size), np.float32)
    along = np.linspace(-reach, reach, 4 * size)
    rows, columns = (np.rint(reach + along * f(angle)).astype(int) for f in (np.sin, np.cos))
    kernel[rows, columns] = 1
    kernel /= kernel.sum()
    return as_pixels(cv2.filter2D(as_image(x), -1, kernel, borderType=cv2.BORDER_REPLICATE))


def low_light(x: Tensor) -> Tensor:
    """Simulate an underexposed picture: a tenth to two thirds of the light, in 8 bits."""
    return x * _between(0.1, 0.65)


def low_resolution(x: Tensor) -> Tensor:
    """Simulate a face far away: 14 to 34 pixels across, enlarged again."""
    side = round(_between(14, 34))
    small = F.interpolate(x[None], (side, side), mode="area")
    return F.interpolate(small, x.shape[1:], mode="bilinear", align_corners=False)[0]


def defocus(x: Tensor) -> Tensor:
    """Simulate a lens out of focus. The Gaussian blur has 1.5 to 6 % of the side."""
    return as_pixels(cv2.GaussianBlur(as_image(x), (0, 0), _between(0.015, 0.06) * x.shape[-1]))


CHANGES: dict[str, Change] = {
    "near_infrared": near_infrared,
    "night_noise": night_noise,
    "sun_glare": sun_glare,
    "half_lit": half_lit,
    "sunglasses": sunglasses,
    "mask": mask,
    "turned_head": turned_head,
    "motion_blur": motion_blur,
    "low_light": low_light,
    "low_resolution": low_resolution,
    "defocus": defocus,
}


def _between(low: float, high: float) -> float:
    return low + (high - low) * float(torch.rand(()))


def _places(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return column and row of each pixel, 0..1, each ``[S, S]``."""
    down, across = torch.meshgrid(
        torch.linspace(0, 1, x.shape[1]), torch.linspace(0, 1, x.shape[2]), indexing="ij"
    )
    return across, down


def _soft(inside: Tensor) -> Tensor:
    """Return 0 outside and 1 inside.

    The edge is about one pixel wide at 48 px.
    """
    return (6 * inside).clamp(0, 1)


def contact_sheet(out: Path) -> None:
    """Draw the contact sheet; it is the same each time.

    Each row has a composite face, unchanged and after each effect twice.

    Raises DataError if the file cannot be written.
    """
    torch.manual_seed(2026)
    rows = []
    for label in EMOTIONS[::3]:
        face = read_image(FACES / f"{label}.png")
        pixels = torch.from_numpy(face[:, :, ::-1].copy()).permute(2, 0, 1)
        tiles = [pixels] + [changed(c, pixels) for c in CHANGES.values() for _ in range(2)]
        rows.append(torch.cat([F.pad(tile, (1, 1, 1, 1), value=255) for tile in tiles], 2))
    sheet = torch.cat(rows, 1).permute(1, 2, 0).numpy()[:, :, ::-1]
    sheet = cv2.resize(
        sheet, None, fx=_SHEET_SCALE, fy=_SHEET_SCALE, interpolation=cv2.INTER_NEAREST
    )
    tile_px = _SHEET_SCALE * rows[0].shape[1]
    head = np.full((22, sheet.shape[1], 3), 255, np.uint8)
    for i, name in enumerate(CHANGES):
        place = ((1 + 2 * i) * tile_px + 4, 15)
        text = name.replace("_", " ")
        cv2.putText(head, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.45, (0, 0, 0), 1, cv2.LINE_AA)
    write_png(out, np.concatenate([head, sheet]))


def write_png(out: Path, image: Image) -> None:
    """Write a picture in one step. Raises DataError."""
    png = cv2.imencode(".png", image, [cv2.IMWRITE_PNG_COMPRESSION, 9])[1]
    try:
        write_file(out, png.tobytes())
    except OSError as error:
        raise DataError(f"cannot write {out}: {error.strerror}. Choose another file") from error


@click.command("incar", cls=ModuleCommand)
@click.argument("out", type=click.Path(path_type=Path))
def main(out: Path) -> None:
    """Draw the in-car effects on composite faces into OUT, a PNG."""
    contact_sheet(out)


if __name__ == "__main__":
    main()
