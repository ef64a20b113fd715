"""Random changes to a face that do not change its expression, with torchvision v2."""

from __future__ import annotations

from fer_edge.training import torchvision_compat  # noqa: F401  (before torchvision)
from fer_edge.training.recipe import Augment

from torchvision.transforms import v2  # isort: skip


def augmentation(spec: Augment) -> v2.Compose:
    """uint8 ``[C, H, W]`` in, uint8 ``[C, H', W']`` out."""
    steps: list[v2.Transform] = []
    if spec.flip:
        steps.append(v2.RandomHorizontalFlip(spec.flip))
    if spec.rotate_deg or spec.translate or spec.scale:
        steps.append(
            v2.RandomAffine(
                degrees=spec.rotate_deg,
                translate=(spec.translate, spec.translate),
                scale=(1 - spec.scale, 1 + spec.scale),
                interpolation=v2.InterpolationMode.BILINEAR,
            )
        )
    if spec.crop_px:
        steps.append(v2.RandomCrop(spec.crop_px))
    if spec.brightness or spec.contrast:
        steps.append(v2.ColorJitter(brightness=spec.brightness, contrast=spec.contrast))
    if spec.erase:
        steps.append(v2.RandomErasing(spec.erase, scale=(0.02, 0.2), value=128))
    return v2.Compose(steps)
