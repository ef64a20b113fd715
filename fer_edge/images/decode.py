"""Decode one checked picture with OpenCV, upright and complete."""

from __future__ import annotations

import re

import cv2
import numpy as np
import numpy.typing as npt

from fer_edge.errors import InputError
from fer_edge.images.containers import PictureInfo
from fer_edge.images.decoder_warnings import with_warnings
from fer_edge.images.exif import upright
from fer_edge.opencv_log import quiet_opencv

_DAMAGE = re.compile(
    r"Corrupt JPEG data|Premature end|Inconsistent progression|Invalid SOS parameters"
    r"|unknown JFIF revision|Unknown Adobe color transform"
)
"""libjpeg's warnings (jerror.h) about missing or wrong data. It prints the first of a picture only:
a wrong version or transform would hide that pixels are missing."""
_PADDING = re.compile(r"Corrupt JPEG data: [12] extraneous bytes before marker 0xd9")
"""Warning about one or two bytes after the last pixel. Some encoders pad to a word. Of faces with
data missing in the middle, one in eight ends with more bytes to spare."""


def decode(data: bytes, info: PictureInfo, name: str) -> npt.NDArray[np.uint8]:
    """Decode to uint8 BGR ``[H, W, 3]``, with the EXIF orientation applied.

    Args:
        data: Bytes of the file.
        info: Facts of its container, from picture_info.
        name: Name of the picture, for messages.

    Raises:
        InputError: The decoder refuses the data, or warns that picture data is missing or wrong.
    """
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    encoded = np.frombuffer(data, np.uint8)
    try:
        with quiet_opencv():
            image, warnings = with_warnings(lambda: cv2.imdecode(encoded, flags))
    except cv2.error as error:
        raise InputError(f"{name} cannot be decoded: {error.err}. Export it again") from error
    if image is None or (_DAMAGE.search(warnings) and not _PADDING.search(warnings)):
        raise InputError(
            f"{name} is damaged: a part of its picture data is missing or wrong. "
            "Copy or export it again"
        )
    return upright(np.asarray(image, np.uint8), info.orientation)
