"""EXIF orientation: read from TIFF bytes, and applied to pixels.

OpenCV 4.8 to 4.12 ignores the orientation of a WebP that OpenCV 5 applies. Reading it here gives
the same pixels on every allowed version.
"""

from __future__ import annotations

import struct

import cv2
import numpy as np
import numpy.typing as npt

_TAG = 0x0112
"""Orientation, in IFD 0 (EXIF 2.32, section 4.6.4)."""
_VALUES = {3: "H", 4: "I"}
"""Forms of a value by type: SHORT, which the standard asks for, and LONG, which some write."""


def exif_orientation(tiff: bytes) -> int:
    """Return the orientation, 1 to 8, of EXIF data.

    It is 1 if missing or damaged.

    Args:
        tiff: The TIFF structure, from its byte-order mark on.
    """
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    try:
        if order is None:
            return 1
        magic, offset = struct.unpack_from(order + "HI", tiff, 2)
        (entries,) = struct.unpack_from(order + "H", tiff, offset)
        if magic != 42:
            return 1
        for at in range(offset + 2, offset + 2 + 12 * entries, 12):
            tag, kind, count = struct.unpack_from(order + "HHI", tiff, at)
            if tag == _TAG and kind in _VALUES and count == 1:
                (value,) = struct.unpack_from(order + _VALUES[kind], tiff, at + 8)
                return value if 1 <= value <= 8 else 1
    except struct.error:
        pass
    return 1


def upright(image: npt.NDArray[np.uint8], orientation: int) -> npt.NDArray[np.uint8]:
    """Turn and mirror pixels so that a viewer would show them.

    Args:
        image: uint8 ``[H, W, C]``.
        orientation: EXIF orientation, 1 to 8.
    """
    if orientation in (5, 6, 7, 8):
        image = np.asarray(cv2.transpose(image), np.uint8)
    flip = {2: 1, 3: -1, 4: 0, 6: 1, 7: -1, 8: 0}.get(orientation)
    return image if flip is None else np.asarray(cv2.flip(image, flip), np.uint8)
