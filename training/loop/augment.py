"""Random augmentations of training faces, with torchvision v2 and OpenCV."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import torch
from torch import Tensor

from fer_edge.training.config.schema import Augment
from fer_edge.training.loop.incar import in_car
from fer_edge.training.models import torchvision_compat  # noqa: F401  (before torchvision)

from torchvision.transforms import v2  # isort: skip

Change = Callable[[Tensor], Tensor]
Mix = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]

_PERSPECTIVE = 0.2
"""Distortion scale: corners move by at most half this share of the side."""
_BLUR_PX, _BLUR_SIGMA_PX = 5, (0.5, 1.1)


def augmentation(spec: Augment, size_px: int) -> Change | None:
    """Return the augmentation of a recipe, or None if it changes nothing.

    It takes uint8 ``[C, size_px, size_px]`` and returns uint8 ``[C, S, S]``; S is ``crop_px`` or
    ``size_px``.
    """
    steps: list[Change] = [*in_car(spec.incar)]
    if spec.flip:
        steps.append(v2.RandomHorizontalFlip(spec.flip))
    if spec.rotate_deg or spec.translate or spec.scale:
        steps.append(_affine(spec.rotate_deg, spec.translate, spec.scale))
    if spec.perspective:
        steps.append(v2.RandomPerspective(_PERSPECTIVE, spec.perspective))
    if spec.resized_crop < 1:
        steps.append(v2.RandomResizedCrop(size_px, (spec.resized_crop, 1), (1, 1)))
    if spec.crop_px:
        steps.append(v2.RandomCrop(spec.crop_px))
    if spec.brightness or spec.contrast or spec.saturation:
        steps.append(v2.ColorJitter(spec.brightness, spec.contrast, spec.saturation))
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


def _affine(rotate_deg: float, translate: float, scale: float) -> Change:
    """Return a random rotation, shift and change of size; what comes in from outside is black.

    OpenCV does it in a sixth of the time of torchvision's RandomAffine (128 px, one core).

    Args:
        rotate_deg: Largest angle, in degrees.
        translate: Largest shift in each direction, as a share of the side.
        scale: Largest change of the size, as a share of it.
    """

    def apply(pixels: Tensor) -> Tensor:
        side = pixels.shape[-1]
        turn, larger, across, down = (2 * torch.rand(4) - 1).tolist()
        centre = ((side - 1) / 2,) * 2
        matrix = cv2.getRotationMatrix2D(centre, turn * rotate_deg, 1 + larger * scale)
        matrix[:, 2] += np.multiply((across, down), translate * side)
        image = np.ascontiguousarray(pixels.permute(1, 2, 0).numpy())
        moved = cv2.warpAffine(image, matrix, (side, side), flags=cv2.INTER_LINEAR)
        return torch.from_numpy(moved.reshape(image.shape)).permute(2, 0, 1).contiguous()

    return apply


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
