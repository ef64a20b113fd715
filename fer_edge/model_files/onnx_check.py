"""Checks of an ONNX file without an ONNX library: external data, loops.

A hash vouches for the bytes of a model, not for what the bytes refer to. OpenVINO follows a
tensor's external data into the process's current folder. A bundle whose hashes all matched could
thus read ``/etc/passwd``; an address instead of a file name made OpenVINO crash. A loop can run
forever. The exported graphs have neither, so a model that has them is refused.

Field numbers are those of onnx/onnx.proto (onnx 1.18 to 1.23, unchanged since 2019).
"""

from __future__ import annotations

from collections.abc import Iterator

from fer_edge.errors import BundleError

_MOST_DEPTH = 16
"""Deepest nesting of messages. An exported graph has 6."""
_MOST_FIELDS = 2_000_000
"""Largest number of fields that are checked. The largest exported graph has about 30,000."""
_CONTROL_FLOW = frozenset({b"Loop", b"Scan", b"If", b"SequenceMap"})
_COMPILED = b"EPContext"
"""Operation that holds or names an engine's compiled file."""

# Message: the fields that hold messages to be looked into, by their message's name.
_INSIDE: dict[str, dict[int, str]] = {
    "Model": {7: "Graph", 20: "Training", 25: "Function"},
    "Training": {1: "Graph", 2: "Graph"},
    "Graph": {1: "Node", 5: "Tensor", 15: "SparseTensor"},
    "Function": {7: "Node", 11: "Attribute"},
    "Node": {5: "Attribute"},
    "Attribute": {
        5: "Tensor",
        6: "Graph",
        10: "Tensor",
        11: "Graph",
        22: "SparseTensor",
        23: "SparseTensor",
    },
    "SparseTensor": {1: "Tensor", 2: "Tensor"},
    "Tensor": {},
}
_FIRST_BYTE = b"\x08"
"""Field 1, ``ir_version``, which every exporter writes first. An XML file starts otherwise, so no
file passes this check and is something else to an engine."""
_METADATA, _KEY, _VALUE = 14, 1, 2
_OP_TYPE, _EXTERNAL_DATA, _DATA_LOCATION = 4, 13, 14


def check_onnx(model: bytes, name: str) -> None:
    """Refuse a model that refers to other files or loops.

    Args:
        model: Bytes of an ONNX file.
        name: Name of the file, for messages.

    Raises:
        BundleError: The model has external data or control flow, or compiled code of an engine.
        ValueError: The model is not a readable protobuf.
    """
    try:
        if model[:1] != _FIRST_BYTE:
            raise IndexError("no version first")
        _check(memoryview(model), "Model", 0, iter(range(_MOST_FIELDS)), name)
    except IndexError as error:
        raise ValueError(f"{name} is not a readable ONNX file") from error


def read_metadata(model: bytes, name: str) -> dict[str, str]:
    """Return the metadata of a checked ONNX model. The last value of a repeated key counts.

    Args:
        model: Bytes of an ONNX file that check_onnx accepted.
        name: Name of the file, for messages.

    Raises:
        ValueError: An entry of the metadata is not readable.
    """
    try:
        return dict(_metadata(memoryview(model)))
    except IndexError as error:
        raise ValueError(f"{name} has damaged metadata") from error


def _metadata(model: memoryview) -> Iterator[tuple[str, str]]:
    for number, value in _fields(model, iter(range(_MOST_FIELDS))):
        if number == _METADATA:
            pair = dict(_fields(_view(value), iter(range(_MOST_FIELDS))))
            key, text = (bytes(_view(pair.get(n, memoryview(b"")))) for n in (_KEY, _VALUE))
            yield key.decode("utf-8", "replace"), text.decode("utf-8", "replace")


def _check(message: memoryview, kind: str, depth: int, budget: Iterator[int], name: str) -> None:
    if depth > _MOST_DEPTH:
        raise IndexError("nested too deeply")
    inside = _INSIDE[kind]
    for number, value in _fields(message, budget):
        if kind == "Tensor" and number in (_EXTERNAL_DATA, _DATA_LOCATION):
            if value != 0:  # 0 is the default: the data are in this file
                raise BundleError(
                    f"{name} refers to data outside the file, which a bundle must not. "
                    "Convert the checkpoint again with fer-edge convert"
                )
        elif kind == "Node" and number == _OP_TYPE and bytes(_view(value)) in _CONTROL_FLOW:
            raise BundleError(
                f"{name} holds the operation {bytes(_view(value)).decode()}, which can run for "
                "ever. fer-edge convert writes none"
            )
        elif kind == "Node" and number == _OP_TYPE and bytes(_view(value)) == _COMPILED:
            raise BundleError(
                f"{name} holds compiled code of an engine, which cannot be checked. "
                "Convert the checkpoint again with fer-edge convert"
            )
        elif number in inside:
            _check(_view(value), inside[number], depth + 1, budget, name)


def _view(value: int | memoryview) -> memoryview:
    if isinstance(value, int):
        raise IndexError("a number instead of a message")
    return value


def _fields(message: memoryview, budget: Iterator[int]) -> Iterator[tuple[int, int | memoryview]]:
    """Yield the number and value of each field, except fixed-size numbers."""
    at, end = 0, len(message)
    while at < end:
        if next(budget, None) is None:
            raise IndexError("more fields than any exported graph has")
        tag, at = _varint(message, at)
        number, wire = tag >> 3, tag & 7
        if wire == 0:
            value, at = _varint(message, at)
            yield number, value
        elif wire == 2:
            length, at = _varint(message, at)
            if length > end - at:
                raise IndexError("a field that is longer than its message")
            yield number, message[at : at + length]
            at += length
        elif wire in (1, 5):
            at += 8 if wire == 1 else 4
        else:
            raise IndexError("a group, which protobuf 3 does not have")


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise IndexError("a number of more than 64 bits")
