"""Pictures from the messages of recorders: ROS (CDR) and Foxglove (Protobuf, JSON).

Sources: sensor_msgs/Image and CompressedImage of ROS 2 Humble, with the encodings of
sensor_msgs/image_encodings.hpp; CompressedImage.proto and RawImage.proto of foxglove/schemas.
"""

from __future__ import annotations

import base64
import functools
import json
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np

from fer_edge.errors import InputError
from fer_edge.images.containers import MAX_PIXELS, MAX_SIDE_PX
from fer_edge.libraries import needed
from fer_edge.preprocess import Image, decode_image
from fer_edge.shown import shown

Decode = Callable[[bytes], Image]

RAW, COMPRESSED = "raw", "compressed"
_KINDS = {
    "sensor_msgs/msg/Image": RAW,
    "sensor_msgs/Image": RAW,
    "foxglove.RawImage": RAW,
    "sensor_msgs/msg/CompressedImage": COMPRESSED,
    "sensor_msgs/CompressedImage": COMPRESSED,
    "foxglove.CompressedImage": COMPRESSED,
}
"""Picture types by the name of their schema."""
_CONVERSIONS: dict[str, tuple[int, int | None]] = {
    "mono8": (1, None),
    "8UC1": (1, None),
    "bgr8": (3, None),
    "8UC3": (3, None),
    "rgb8": (3, cv2.COLOR_RGB2BGR),
    "bgra8": (4, cv2.COLOR_BGRA2BGR),
    "8UC4": (4, cv2.COLOR_BGRA2BGR),
    "rgba8": (4, cv2.COLOR_RGBA2BGR),
    # OpenCV names Bayer patterns by the second line, ROS by the first one.
    "bayer_rggb8": (1, cv2.COLOR_BayerBG2BGR),
    "bayer_bggr8": (1, cv2.COLOR_BayerRG2BGR),
    "bayer_gbrg8": (1, cv2.COLOR_BayerGR2BGR),
    "bayer_grbg8": (1, cv2.COLOR_BayerGB2BGR),
    "yuv422": (2, cv2.COLOR_YUV2BGR_UYVY),
    "uyvy": (2, cv2.COLOR_YUV2BGR_UYVY),
    "yuv422_yuy2": (2, cv2.COLOR_YUV2BGR_YUY2),
    "yuyv": (2, cv2.COLOR_YUV2BGR_YUY2),
}
"""Bytes for each pixel and OpenCV's conversion to BGR, by encoding."""
_DEEP = {"mono16", "16UC1"}


def is_picture(schema: str) -> bool:
    """Return True if messages of this type hold pictures that can be read."""
    return schema in _KINDS


def decoder(schema: str, encoding: str, definition: bytes = b"") -> Decode:
    """Return the function that turns a message into a picture.

    Args:
        schema: Name of the type, for which ``is_picture`` is True.
        encoding: Encoding of the messages: ``cdr``, ``ros1``, ``protobuf`` or ``json``.
        definition: Definition of the type; Protobuf needs it.

    Returns:
        Takes the bytes of a message and returns uint8 ``[H, W, 3]`` BGR or ``[H, W]`` grey.
        Raises InputError for a message without a picture.

    Raises:
        InputError: The encoding is none of these.
        MissingDependencyError: The library of the encoding is not installed.
    """
    kind = _KINDS[schema]
    if encoding in ("cdr", "ros1"):
        parse = _ros(kind, encoding)
    elif encoding == "protobuf":
        parse = _protobuf(schema, definition)
    elif encoding == "json":
        parse = _json
    else:
        raise InputError(f"expected messages as cdr, ros1, protobuf or json, got {encoding[:40]!r}")
    return functools.partial(_picture, parse, raw=kind == RAW)


def _picture(parse: Callable[[bytes], dict[str, Any]], message: bytes, *, raw: bool) -> Image:
    try:
        fields = parse(message)
        if raw:
            return pixels(
                fields["data"],
                int(fields["width"]),
                int(fields["height"]),
                int(fields["step"]),
                str(fields["encoding"]),
                big_endian=bool(fields.get("is_bigendian", False)),
            )
        return decode_image(bytes(fields["data"]), "the picture")
    except (InputError, MemoryError):
        raise
    except Exception as error:  # parsers of damaged messages raise many kinds
        raise InputError(f"the message holds no picture: {error}") from error


def pixels(
    data: Any, width: int, height: int, step: int, encoding: str, *, big_endian: bool = False
) -> Image:
    """Return raw pixels as uint8 BGR ``[H, W, 3]`` or grey ``[H, W]``.

    Args:
        data: Bytes, or an array of uint8.
        width: Width in pixels.
        height: Height in pixels.
        step: Bytes from line to line.
        encoding: ROS name, such as ``rgb8``.
        big_endian: Byte order of 16-bit pixels, of which the upper 8 bits are taken.

    Raises:
        InputError: The values do not fit each other, or the encoding is unknown.
    """
    if not (0 < width <= MAX_SIDE_PX and 0 < height <= MAX_SIDE_PX) or width * height > MAX_PIXELS:
        raise InputError(f"a picture cannot have {width}x{height} pixels")
    if encoding not in _CONVERSIONS and encoding not in _DEEP:
        raise InputError(
            f"expected pixels as {', '.join([*_CONVERSIONS, *_DEEP])}, got {shown(encoding)}"
        )
    size, conversion = _CONVERSIONS.get(encoding, (2, None))
    flat = np.frombuffer(data, np.uint8)
    step = step or width * size
    if step < width * size or len(flat) < step * (height - 1) + width * size:
        raise InputError(f"{len(flat)} bytes are too few for {width}x{height} pixels of {encoding}")
    lines = np.lib.stride_tricks.as_strided(flat, (height, width * size), (step, 1))
    if encoding in _DEEP:
        return np.ascontiguousarray(lines[:, 0 if big_endian else 1 :: 2])
    image = np.ascontiguousarray(lines)
    if size > 1:
        image = image.reshape(height, width, size)
    return image if conversion is None else np.asarray(cv2.cvtColor(image, conversion), np.uint8)


def _ros(kind: str, encoding: str) -> Callable[[bytes], dict[str, Any]]:
    with needed("rosbags", "fleet"):
        from rosbags.typesys import Stores, get_typestore
    # Types of the library, not those that a file defines: nothing of a stranger is parsed.
    store = get_typestore(Stores.ROS2_HUMBLE if encoding == "cdr" else Stores.ROS1_NOETIC)
    read = store.deserialize_cdr if encoding == "cdr" else store.deserialize_ros1
    name = f"sensor_msgs/msg/{'Image' if kind == RAW else 'CompressedImage'}"
    return lambda message: vars(read(message, name))


def _json(message: bytes) -> dict[str, Any]:
    fields = json.loads(message)
    return {**fields, "data": base64.b64decode(fields["data"], validate=True)}


def _protobuf(schema: str, definition: bytes) -> Callable[[bytes], dict[str, Any]]:
    with needed("protobuf", "fleet"):
        from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
        from google.protobuf.message import DecodeError
    try:
        pool = descriptor_pool.DescriptorPool()
        waiting = list(descriptor_pb2.FileDescriptorSet.FromString(definition).file)
        added: set[str] = set()
        while waiting:  # a file comes after those that it imports
            ready = [file for file in waiting if added.issuperset(file.dependency)]
            for file in ready or waiting[:1]:
                pool.Add(file)
                added.add(file.name)
                waiting.remove(file)
        kind = message_factory.GetMessageClass(pool.FindMessageTypeByName(schema))
    except Exception as error:  # protobuf raises many kinds for damaged definitions
        raise InputError(f"the definition of {schema} is damaged: {str(error)[:100]}") from error

    def parse(message: bytes) -> dict[str, Any]:
        try:
            fields = kind.FromString(message)
        except DecodeError as error:
            raise InputError(f"the message is not a {schema}") from error
        names = [field.name for field in kind.DESCRIPTOR.fields]
        return {name: getattr(fields, name) for name in names}

    return parse
