"""Face crop: the network's input, or a quality issue."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from fer_edge.errors import InputError
from fer_edge.monitor.align import crop_upright
from fer_edge.monitor.quality import QualityIssue, judge_face, judge_place
from fer_edge.monitor.settings import Settings
from fer_edge.preprocess import Box, CropRule, Image, crop, to_batch


def cut_face(
    image: Image,
    box: Box,
    landmarks: npt.NDArray[np.float32] | None,
    rule: CropRule,
    settings: Settings,
) -> npt.NDArray[np.uint8] | QualityIssue:
    """Crop a face for the network, or return its quality issue.

    Args:
        image: uint8 ``[H, W, 3]`` BGR.
        box: ``(x, y, width, height)`` in pixels of ``image``.
        landmarks: float32 ``[5, 2]`` in pixels of ``image``, as in Face, or None.
        rule: The bundle's crop rule.
        settings: Alignment and quality limits.

    Returns:
        uint8 ``[S, S, 3]`` BGR of the rule's size, or a QualityIssue.
    """
    if issue := judge_place(box, landmarks, settings.quality):
        return issue
    try:
        if settings.align and landmarks is not None:
            face, landmarks = crop_upright(image, box, landmarks, rule.margin)
        else:
            face = crop(image, box, rule.margin)
    except InputError as error:
        return "lost", str(error)
    side = face.shape[0]
    corner = np.array(box[:2]) + np.array(box[2:]) / 2 - side / 2
    inside = None if landmarks is None else (landmarks - corner.astype(np.float32)) / side
    resized = to_batch([face], rule)[0]
    return judge_face(resized, inside, settings.quality) or resized
