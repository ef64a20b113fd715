"""Checks of a variant's models that go beyond their hashes.

A hash vouches for bytes, not for what they refer to or what they compute.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from fer_edge.errors import BundleError, EngineError
from fer_edge.json_check import read_mapping
from fer_edge.manifest import read_json
from fer_edge.model_files.ir_check import check_ir
from fer_edge.model_files.onnx_check import check_onnx, read_metadata
from fer_edge.model_files.tflite_check import check_tflite, read_tflite_metadata
from fer_edge.shown import shown

CONTRACT = "fer_edge"
"""Key of the contract in the metadata of an ONNX model or a .tflite file."""
_ENTRIES = {
    "onnxruntime": (".onnx",),
    "openvino": (".onnx", ".xml"),
    "qnn": (".onnx",),
    "tensorrt": (".onnx",),
    "litert": (".tflite",),
}
"""Endings of the file that an engine opens first. Another form would not be checked."""


def contract_of(
    labels: tuple[str, ...], temperature: float, size_px: int, embedding_dim: int
) -> dict[str, Any]:
    """Return the facts that a graph and its bundle must agree on."""
    return {
        "labels": list(labels),
        "temperature": temperature,
        "size_px": size_px,
        "embedding_dim": embedding_dim,
    }


def check_models(
    target: str, entry: str, files: Mapping[str, bytes], contract: Mapping[str, Any]
) -> None:
    """Check the models of one variant.

    Args:
        target: Target of the variant.
        entry: Path of the file that the engine opens first.
        files: Contents by path.
        contract: Facts of the bundle, from contract_of.

    Raises:
        BundleError: A model refers to anything outside its files, can loop, is of a form that
            cannot be checked, or was made for another contract.
        EngineError: A model cannot be read.
    """
    endings = _ENTRIES.get(target)
    if endings is None:
        return
    if PurePosixPath(entry).suffix not in endings:
        raise BundleError(
            f"expected the model of {target} in {' or '.join(endings)}, got {entry}. Convert the "
            "checkpoint again with fer-edge convert"
        )
    weights = next((len(data) for path, data in files.items() if path.endswith(".bin")), 0)
    try:
        for path, data in files.items():
            if path.endswith(".onnx"):
                check_onnx(data, path)
                _check_contract(read_metadata(data, path).get(CONTRACT), path, contract)
            elif path.endswith(".tflite"):
                check_tflite(data, path)
                _check_contract(_text(read_tflite_metadata(data, CONTRACT)), path, contract)
            elif path.endswith(".xml"):
                check_ir(data, weights, path)
    except ValueError as error:
        raise EngineError(
            f"{error}. Get the bundle again, or convert it again with fer-edge convert"
        ) from error


def _text(data: bytes | None) -> str | None:
    return None if data is None else data.decode("utf-8", "replace")


def _check_contract(text: str | None, name: str, contract: Mapping[str, Any]) -> None:
    """Compare the bundle's facts with those in the model, if it has any."""
    if text is None:
        return
    try:
        exported = read_mapping(read_json(text.encode()), CONTRACT)
        differing = [key for key in contract if key in exported and exported[key] != contract[key]]
    except ValueError as error:
        raise BundleError(
            f"{name} has damaged metadata. Get the bundle again, or convert it again with "
            "fer-edge convert"
        ) from error
    for key in differing:
        raise BundleError(
            f"{name} was exported with {key} {shown(exported[key])}, and the bundle says "
            f"{shown(contract[key])}. Get the bundle again, or convert it again with "
            "fer-edge convert"
        )
