"""Preprocessing of images for every backend: check, crop, resize.

The exported graph contains the rest: colour order, scaling, mean and std, layout.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping, Set
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import numpy.typing as npt

from fer_edge.errors import InputError, next_step
from fer_edge.images.containers import MAX_PIXELS, MAX_SIDE_PX, picture_info
from fer_edge.images.decode import decode
from fer_edge.paths import as_path
from fer_edge.shown import shown, without_password

Image = npt.NDArray[np.uint8]
"""Image as OpenCV reads it: uint8 ``[H, W, 3]``, BGR."""

ImageSource = Image | str | Path
"""Image array, or path of an image file."""

Colour = Literal["bgr", "rgb", "grey"]
"""Colour order of an image array."""
Box = tuple[int, int, int, int]
"""Box ``(x, y, width, height)`` in pixels of the image. OpenCV's detectors return this form."""

NO_BOX = (str, bytes, bytearray, memoryview, Set, Mapping)
"""Types that may have four items and are no box."""

CROP_MARGIN = 0.1
"""Margin of a detected box in new bundles: share (0..1) of its longer side.

FER2013's crops show more than a detector's box.
"""
MIN_SIDE_PX = 8
"""Least pixels of a side: smaller faces show no expression. Faces of FER2013 have 48 px."""
MAX_FILE_BYTES = 128 * 1024 * 1024
"""Most bytes of an image file."""

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")
"""Beginning of a web address, or of a ``Path`` made of one. A drive of Windows has one letter."""

_COLOURS: dict[str, int | None] = {
    "bgr": None,
    "rgb": cv2.COLOR_RGB2BGR,
    "grey": cv2.COLOR_GRAY2BGR,
}


@dataclass(frozen=True)
class CropRule:
    """Rule that turns a face into the network's input.

    The bundle stores it for all variants.

    Attributes:
        size_px: Side of the square input in pixels.
        margin: Margin on each side of a detected box, as a share of the box's longer side.
        kernel: Method of resizing; see ``resize_into``.
    """

    size_px: int
    margin: float = 0.0
    kernel: Literal["halve-bilinear"] = "halve-bilinear"

    def as_dict(self) -> dict[str, Any]:
        """Return the attributes as plain values."""
        return asdict(self)


def check_colour(colour: str) -> None:
    """Raise InputError for a colour order that does not exist."""
    if not isinstance(colour, str) or colour not in _COLOURS:
        raise InputError(f"expected colour 'bgr', 'rgb' or 'grey', got {shown(colour)}")


def as_bgr(image: object, colour: Colour = "bgr") -> Image:
    """Check an image array and return it as BGR.

    Values are never guessed or rescaled.

    Args:
        image: uint8 ``[H, W, 3]`` in the stated colour order, or grey ``[H, W]`` or
            ``[H, W, 1]``.
        colour: Colour order of the array.

    Returns:
        uint8 ``[H, W, 3]`` BGR; the array itself if it is that already, and of no subclass.

    Raises:
        InputError: The array is anything else, too small or too large, or has masked pixels.
    """
    if not isinstance(image, np.ndarray):
        raise InputError(
            f"expected an image as a numpy array, got {type(image).__name__}. "
            "Pass uint8 [H, W, 3] BGR, or a file path"
        )
    if np.ma.is_masked(image):
        raise InputError(
            "expected an image without a mask, got a masked array. "
            "Fill the masked pixels first: image.filled(0)"
        )
    image = np.asarray(image)  # OpenCV takes no subclass, not even its own Mat
    if image.dtype != np.uint8:
        raise InputError(
            f"expected an image of dtype uint8 in 0..255, got {image.dtype}. {_to_uint8(image)}"
        )
    check_colour(colour)
    if image.ndim == 3 and image.shape[2] == 4:
        raise InputError(
            f"expected 3 channels, got an image with alpha, shape {image.shape}. "
            "Drop or blend the alpha channel first: image[:, :, :3]"
        )
    is_grey = image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 1)
    if not is_grey and not (image.ndim == 3 and image.shape[2] == 3):
        raise InputError(
            f"expected an image of shape [H, W, 3] or [H, W], got {image.shape}. {_to_3d(image)}"
        )
    height, width = image.shape[:2]
    if min(height, width) < MIN_SIDE_PX:
        raise InputError(
            f"expected a face of at least {MIN_SIDE_PX}x{MIN_SIDE_PX} pixels, got "
            f"{width}x{height}. Nothing can be read from so few pixels"
        )
    if max(height, width) > MAX_SIDE_PX or height * width > MAX_PIXELS:
        raise InputError(
            f"expected at most {MAX_SIDE_PX} pixels a side and {MAX_PIXELS:,} in all, got "
            f"{width}x{height}. Crop or shrink the image first"
        )
    if is_grey:
        return _convert(image, cv2.COLOR_GRAY2BGR)
    code = _COLOURS[colour]
    if colour == "grey":
        raise InputError(f"expected a grey image of shape [H, W], got {image.shape}")
    return image if code is None else _convert(image, code)


def _to_uint8(image: npt.NDArray[Any]) -> str:
    """Return how to make uint8 of an array whose range only the caller knows."""
    if image.dtype == np.uint16:  # Y16 of infrared cameras, whose sensors have 10 to 16 bits
        return "Keep the upper 8 of the sensor's bits, of 16: (image >> 8).astype('uint8')"
    if image.dtype.kind == "f":
        return "If its values are 0..1: (image * 255).round().astype('uint8')"
    if image.dtype == np.bool_:
        return "If True is white: image.astype('uint8') * 255"
    return "If its values are 0..255: image.astype('uint8')"


def _to_3d(image: npt.NDArray[Any]) -> str:
    """Return how to make an image of an array of another shape."""
    if image.ndim == 1:
        return "If it is a camera's buffer: image.reshape(height, width, -1)"
    if image.ndim == 3 and image.shape[2] == 2:  # YUYV and UYVY share this shape
        return "If it is YUYV: cv2.cvtColor(image, cv2.COLOR_YUV2BGR_YUYV)"
    if image.ndim == 3 and image.shape[0] in (1, 3):
        return "If its channels come first: image.transpose(1, 2, 0)"
    return "For several faces call predict_batch"


def _convert(image: Image, code: int) -> Image:
    return np.asarray(cv2.cvtColor(np.ascontiguousarray(image), code), dtype=np.uint8)


def box_numbers(box: Any) -> list[float]:
    """Return the numbers of a box.

    Raises TypeError, ValueError or OverflowError for anything else; text is no number.
    """
    items = () if isinstance(box, NO_BOX) else tuple(box)
    if any(isinstance(item, str | bytes) for item in items):
        raise TypeError("text in a box")
    return [float(item) for item in items]


def crop(image: Image, box: Box, margin: float = 0.0) -> Image:
    """Cut a square with a margin around a face box.

    Args:
        image: uint8 ``[H, W, 3]``.
        box: ``(x, y, width, height)`` in pixels.
        margin: Margin on each side, as a share of the box's longer side.

    Returns:
        uint8 ``[S, S, 3]``. Pixels outside the image repeat its edge.

    Raises:
        InputError: The box has no area, is not finite, too small, or outside the image.
    """
    try:
        x, y, w, h = box_numbers(box)
    except (TypeError, ValueError, OverflowError):
        raise InputError(f"expected a box (x, y, width, height), got {shown(box)}") from None
    if not all(np.isfinite(v) and abs(v) <= 4 * MAX_SIDE_PX for v in (x, y, w, h)):
        raise InputError(f"expected a box of finite pixel numbers, got {shown(box)}")
    height, width = image.shape[:2]
    if w < 1 or h < 1 or x >= width or y >= height or x + w <= 0 or y + h <= 0:
        raise InputError(
            f"expected a box with area inside the {width}x{height} image, got {shown(box)}"
        )
    side = max(w, h) * (1 + 2 * margin)
    left, top = round(x + w / 2 - side / 2), round(y + h / 2 - side / 2)
    right, bottom = left + max(round(side), 1), top + max(round(side), 1)
    if max(w, h) < MIN_SIDE_PX or side * side > MAX_PIXELS:
        raise InputError(
            f"expected a box of {MIN_SIDE_PX} pixels a side to {MAX_PIXELS:,} in all with its "
            f"margin, got {shown(box)}"
        )
    if left >= width or top >= height or right <= 0 or bottom <= 0:  # a box between pixels
        raise InputError(
            f"expected a box with area inside the {width}x{height} image, got {shown(box)}"
        )
    inside = image[max(top, 0) : min(bottom, height), max(left, 0) : min(right, width)]
    pads = (max(-top, 0), max(bottom - height, 0), max(-left, 0), max(right - width, 0))
    if any(pads):
        inside = np.asarray(
            cv2.copyMakeBorder(np.ascontiguousarray(inside), *pads, cv2.BORDER_REPLICATE),
            dtype=np.uint8,
        )
    return inside


def resize_into(face: Image, out: Image) -> None:
    """Resize one BGR face with the only kernel, ``halve-bilinear``.

    Each side is halved while it is at least twice too long, and then fitted, all bilinear. A
    halving is the mean of 2x2 pixels, so no pixel is skipped: a face looks the same at 48 px,
    whether it had 400 px or 100 px. INTER_AREA takes five times as long.

    Args:
        face: uint8 ``[H, W, 3]``.
        out: uint8 ``[S, S, 3]``; receives the result.
    """
    if face.shape == out.shape:
        out[...] = face
        return
    size = out.shape[0]
    height, width = face.shape[:2]
    while height >= 2 * size or width >= 2 * size:
        halves_y, halves_x = 1 + (height >= 2 * size), 1 + (width >= 2 * size)
        height, width = height // halves_y, width // halves_x
        # Cut off an odd last row or column: at a ratio of exactly 2 every pixel enters a mean.
        even = face[: height * halves_y, : width * halves_x]
        face = cv2.resize(even, (width, height), interpolation=cv2.INTER_LINEAR)
    cv2.resize(face, (size, size), dst=out, interpolation=cv2.INTER_LINEAR)


def to_batch(faces: list[Image], rule: CropRule) -> npt.NDArray[np.uint8]:
    """Resize checked BGR faces into one batch.

    Args:
        faces: uint8 ``[H, W, 3]`` each, as ``as_bgr`` returns them.
        rule: Rule of the bundle.

    Returns:
        uint8 ``[N, S, S, 3]``, contiguous.
    """
    batch = np.empty((len(faces), rule.size_px, rule.size_px, 3), np.uint8)
    for face, out in zip(faces, batch, strict=True):
        resize_into(face, out)
    return batch


def read_image(path: str | Path) -> Image:
    """Read an image file.

    The header is checked before anything is decoded: a small file cannot claim gigabytes.

    Args:
        path: JPEG, PNG, BMP or WebP file.

    Returns:
        uint8 ``[H, W, 3]`` BGR. Alpha is dropped, grey is repeated, EXIF orientation is applied.

    Raises:
        InputError: The file is missing, truncated, too large or no image.
    """
    name, path = path, as_path(path, "the image")
    if "\0" in str(path):
        raise InputError(f"expected an image file, got the impossible path {str(path)!r}")
    try:
        _check_file(path, path.stat())
        data = path.read_bytes()
    except OSError as error:
        if _ADDRESS.match(str(name)):  # as a path, it has lost a slash
            raise InputError(
                f"expected an image file, got the address {without_password(str(name))}. Save "
                "the image first, and give the path of its file"
            ) from error
        advice = next_step(error, "Check its path")
        raise InputError(f"cannot read image {path}: {error.strerror}. {advice}") from error
    except UnicodeEncodeError as error:  # half of a surrogate pair
        raise InputError(
            f"expected an image file, got {path!r}, which is not a valid path"
        ) from error
    return decode_image(data, str(path))


def _check_file(path: Path, status: os.stat_result) -> None:
    """Raise InputError for what is no file, or a file that is too large."""
    if stat.S_ISDIR(status.st_mode):
        raise InputError(f"expected an image file, got the folder {path}. Name the images in it")
    if not stat.S_ISREG(status.st_mode):
        raise InputError(
            f"expected an image file, got the device or pipe {path}. Save the image to a file"
        )
    if status.st_size > MAX_FILE_BYTES:
        raise InputError(
            f"expected an image file of at most {MAX_FILE_BYTES >> 20} MiB, got {path} of "
            f"{status.st_size >> 20:,} MiB. Shrink it first"
        )


def any_image(image: ImageSource, colour: Colour = "bgr") -> Image:
    """Read an image file, or check an array, whose colour order is ``colour``.

    Returns uint8 ``[H, W, 3]`` BGR. Raises InputError.
    """
    if isinstance(image, str | Path):
        check_colour(colour)
        return as_bgr(read_image(image))
    return as_bgr(image, colour)


def decode_image(data: bytes, name: str = "image", *, max_pixels: int | None = None) -> Image:
    """Decode an image in memory as ``read_image`` decodes a file.

    Args:
        data: Content of a JPEG, PNG, BMP or WebP file.
        name: Name of the image in messages.
        max_pixels: Most pixels by the image's header; None is MAX_PIXELS, which is also the most.

    Returns:
        uint8 ``[H, W, 3]`` BGR.

    Raises:
        InputError: The data are truncated, too large or no image.
    """
    max_pixels = min(MAX_PIXELS, max_pixels or MAX_PIXELS)
    info = picture_info(data, name, max_pixels)
    return decode(data, info, name)
