"""Qualcomm chips with an HTP, and the chip that a context binary was compiled for."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from pathlib import Path

from fer_edge.errors import EngineError
from fer_edge.telemetry import import_without_telemetry


@dataclass(frozen=True)
class Chip:
    """System on a chip.

    Attributes:
        name: Name, in lower case.
        soc: Number of the chip in Qualcomm's SDK (``QNN_SOC_MODEL``).
        htp: Architecture of its HTP: 68 is v68.
    """

    name: str
    soc: int
    htp: int


CHIPS = {
    chip.name: chip
    for chip in (
        Chip("sa8295", 39, 68),
        Chip("sa8540", 62, 68),
        Chip("sa8255", 52, 73),
        Chip("sa8775", 52, 73),
        Chip("qcs9100", 77, 73),
        Chip("sa8797", 72, 81),
        Chip("qcm6490", 93, 68),
        Chip("sm8350", 30, 68),
        Chip("sm8450", 36, 69),
        Chip("sm8550", 43, 73),
        Chip("sm8650", 57, 75),
        Chip("sm8750", 69, 79),
        Chip("sm8850", 87, 81),
    )
}
"""Chips by name. Numbers and architectures are those of Qualcomm's backend in ExecuTorch
(qc_schema.py); a test compares each architecture with a compiled binary."""
DEFAULT_CHIP = "sa8255"
"""Chip that is simulated if none is named. The simulator runs its v73 twice as fast as v68."""
_WITHOUT_HTP = {"sa8155": "v66", "sa8155p": "v66", "sa6155": "v66", "sa6155p": "v66"}
"""Chips whose Hexagon DSP is older than the HTP, and its architecture."""


def unknown_chip(name: str) -> str:
    """Return why a chip's name is refused."""
    if architecture := _WITHOUT_HTP.get(name.lower()):
        return (
            f"{name.upper()} has a Hexagon DSP {architecture}, and this target needs an HTP (v68 "
            "or later). Convert for onnxruntime, which runs on its CPU"
        )
    return f"unknown chip {name!r}. Known: {', '.join(CHIPS)}"


@dataclass(frozen=True)
class ContextFacts:
    """Facts that a context binary states about itself.

    Attributes:
        soc: Number of the chip in Qualcomm's SDK.
        htp: Architecture of the HTP that it was compiled for.
    """

    soc: int
    htp: int


class _Version(ctypes.Structure):
    _fields_ = [(part, ctypes.c_uint32) for part in ("major", "minor", "patch")]


class _Interface(ctypes.Structure):
    """QnnSystemInterface_t, whose functions begin with those on contexts."""

    _fields_ = [
        ("backend", ctypes.c_uint32),
        ("provider", ctypes.c_char_p),
        ("version", _Version),
        ("create", ctypes.c_void_p),
        ("binary_info", ctypes.c_void_p),
        ("metadata", ctypes.c_void_p),
        ("free", ctypes.c_void_p),
    ]


class _BinaryInfo(ctypes.Structure):
    """QnnSystemContext_BinaryInfo_t in its third version."""

    _fields_ = [
        ("version", ctypes.c_uint32),
        ("padding", ctypes.c_uint32),  # a union follows, which starts at a multiple of eight
        ("backend", ctypes.c_uint32),
        ("build", ctypes.c_char_p),
        ("core_api", _Version),
        ("backend_api", _Version),
        ("soc_version", ctypes.c_char_p),
        ("blob_version", _Version),
        ("blob_size", ctypes.c_uint64),
        ("tensor_count", ctypes.c_uint32),
        ("tensors", ctypes.c_void_p),
        ("graph_count", ctypes.c_uint32),
        ("graphs", ctypes.c_void_p),
        ("platform", ctypes.c_void_p),
        ("metadata_size", ctypes.c_uint32),
        ("metadata", ctypes.c_void_p),
        ("soc_model", ctypes.c_uint32),
    ]


_INFO_VERSION, _METADATA_VERSION = 3, 1


def read_context(binary: bytes) -> ContextFacts:
    """Read a context binary with Qualcomm's system library.

    Args:
        binary: Context binary, as QNN serialised it.

    Raises:
        EngineError: The library cannot read it, or it does not state an architecture.
    """
    qnn = import_without_telemetry("onnxruntime_qnn")
    library = ctypes.CDLL(str(Path(qnn.LIB_DIR_FULL_PATH, "libQnnSystem.so")))
    providers, count = ctypes.POINTER(ctypes.POINTER(_Interface))(), ctypes.c_uint32()
    if library.QnnSystemInterface_getProviders(ctypes.byref(providers), ctypes.byref(count)):
        raise EngineError("QNN's system library gives no interface. Reinstall onnxruntime-qnn")
    interface = providers[0].contents
    out = ctypes.POINTER(ctypes.c_void_p)
    create = ctypes.CFUNCTYPE(ctypes.c_uint64, out)(interface.create)
    free = ctypes.CFUNCTYPE(ctypes.c_uint64, ctypes.c_void_p)(interface.free)
    read = ctypes.CFUNCTYPE(
        ctypes.c_uint64,
        ctypes.c_void_p,
        ctypes.c_void_p,
        ctypes.c_uint64,
        out,
        ctypes.POINTER(ctypes.c_uint64),
    )(interface.binary_info)
    handle, info, size = ctypes.c_void_p(), ctypes.c_void_p(), ctypes.c_uint64()
    buffer = ctypes.create_string_buffer(binary, len(binary))
    if create(ctypes.byref(handle)):
        raise EngineError("QNN's system library cannot start. Reinstall onnxruntime-qnn")
    try:
        failed = read(handle, buffer, len(binary), ctypes.byref(info), ctypes.byref(size))
        if failed or not info.value:
            raise EngineError("expected a context binary of QNN. Convert the checkpoint again")
        return _facts(_BinaryInfo.from_address(info.value))
    finally:
        free(handle)


def _facts(info: _BinaryInfo) -> ContextFacts:
    words: list[int] = []
    if info.version == _INFO_VERSION and info.metadata and info.metadata_size >= 8:
        words = list((ctypes.c_uint32 * 2).from_address(info.metadata))
    if words[:1] != [_METADATA_VERSION]:
        raise EngineError(
            "the context binary does not state its architecture in a form that is known. "
            "Install onnxruntime-qnn 2.7"
        )
    return ContextFacts(info.soc_model, words[1])
