"""Random augmentations of training faces, with torchvision v2 and OpenCV."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import cv2
import numpy as np
import torch
from torch import Tensor

from fer_edge.training.config.schema import Augment
from fer_edge.training.loop.incar import as_image, as_pixels, in_car
from fer_edge.training.models import torchvision_compat  # noqa: F401  (before torchvision)

from torchvision.transforms import v2  # isort: skip

Change = Callable[[Tensor], Tensor]
Mix = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]

_PERSPECTIVE = 0.2
"""Distortion scale: corners move by at most half this share of the side."""
_BLUR_PX, _BLUR_SIGMA_PX = 5, (0.5, 1.1)
_VALUES = np.arange(256, dtype=np.float32)
"""Values of a pixel."""


def augmentation(spec: Augment, size_px: int) -> Change | None:
    """Return the augmentation of a recipe, or None if it changes nothing.

    It takes uint8 ``[C, size_px, size_px]`` and returns uint8 ``[C, S, S]``; S is ``crop_px`` or
    ``size_px``. It can be pickled: processes that load faces may be spawned.
    """
    steps: list[Change] = [*in_car(spec.incar)]
    if spec.flip or spec.rotate_deg or spec.translate or spec.scale:
        steps.append(partial(_move, spec.flip, spec.rotate_deg, spec.translate, spec.scale))
    if spec.perspective:
        steps.append(v2.RandomPerspective(_PERSPECTIVE, spec.perspective))
    if spec.resized_crop < 1:
        steps.append(v2.RandomResizedCrop(size_px, (spec.resized_crop, 1), (1, 1)))
    if spec.crop_px:
        steps.append(v2.RandomCrop(spec.crop_px))
    if spec.brightness or spec.contrast:
        steps.append(partial(_light, spec.brightness, spec.contrast))
    if spec.saturation:
        steps.append(v2.ColorJitter(saturation=spec.saturation))
    if spec.randaugment:
        steps.append(v2.RandAugment(spec.randaugment, fill=128))
    if spec.blur:
        blur = v2.GaussianBlur(_BLUR_PX, _BLUR_SIGMA_PX)
        steps.append(v2.RandomApply([blur], spec.blur))
    if spec.erase:
        steps.append(v2.RandomErasing(spec.erase, scale=(0.02, 0.2), value=128))
    if not steps:
        return None
    composed: Change = v2.Compose(steps)
    return composed


def _move(flip: float, rotate_deg: float, translate: float, scale: float, pixels: Tensor) -> Tensor:
    """Mirror, rotate, shift and resize a face at random, in one step of OpenCV.

    What comes in from outside is black.

    Args:
        flip: Share (0..1) of faces that are mirrored.
        rotate_deg: Largest angle, in degrees.
        translate: Largest shift in each direction, as a share of the side.
        scale: Largest change of the size, as a share of it.
        pixels: Face, uint8 ``[C, S, S]``.
    """
    side = pixels.shape[-1]
    drawn, turn, larger, across, down = torch.rand(5).mul_(2).sub_(1).tolist()
    centre = ((side - 1) / 2,) * 2
    matrix = cv2.getRotationMatrix2D(centre, turn * rotate_deg, 1 + larger * scale)
    if drawn < 2 * flip - 1:  # x becomes side - 1 - x before all else
        matrix[:, 2] += (side - 1) * matrix[:, 0]
        matrix[:, 0] *= -1
    matrix[0, 2] += across * translate * side
    matrix[1, 2] += down * translate * side
    image = as_image(pixels)
    return as_pixels(cv2.warpAffine(image, matrix, (side, side), flags=cv2.INTER_LINEAR))


def _light(brightness: float, contrast: float, pixels: Tensor) -> Tensor:
    """Change brightness and contrast at random, from a table of 256.

    The order of the two is random. Each is as in torchvision's ColorJitter, and takes less time.

    Args:
        brightness: Largest change of the pixels, as a share of them.
        contrast: Largest change of the distance to the mean of the grey image, as a share of it.
        pixels: Face, uint8 ``[C, S, S]``.
    """
    first, brighter, stronger = torch.rand(3).mul_(2).sub_(1).tolist()
    image = as_image(pixels)
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) if image.ndim == 3 else image
    factor, spread = 1 + brighter * brightness, 1 + stronger * contrast
    table = (factor * _VALUES).clip(0, 255) if first < 0 else _VALUES
    middle = cv2.mean(cv2.LUT(grey, table.astype(np.uint8)))[0]
    table = (spread * table + (1 - spread) * middle).clip(0, 255)
    if first >= 0:
        table = (factor * table).clip(0, 255)
    return as_pixels(cv2.LUT(image, table.astype(np.uint8)))


def mixing(spec: Augment, classes: int) -> Mix | None:
    """Return MixUp, CutMix, a random choice of both, or None.

    It takes and returns float images ``[N, C, S, S]`` and targets ``[N, classes]``.
    """
    mixes: list[Mix] = []
    if spec.mixup:
        mixes.append(v2.MixUp(alpha=spec.mixup, num_classes=classes))
    if spec.cutmix:
        mixes.append(v2.CutMix(alpha=spec.cutmix, num_classes=classes))
    if len(mixes) == 2:
        both: Mix = v2.RandomChoice(mixes)
        return both
    return mixes[0] if mixes else None
