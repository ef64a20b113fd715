"""From a tracked face to the network's input, or to the reason why it cannot be read."""

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
    """uint8 ``[S, S, 3]`` BGR as the bundle's rule wants it.

    box and landmarks: in pixels of ``image``, as in Face.
    """
    if doubt := judge_place(box, landmarks, settings.quality):
        return doubt
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
