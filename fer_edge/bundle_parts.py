"""Strict readers of the parts of ``bundle.json``.

Each raises ValueError with the key's name.
"""

from __future__ import annotations

import re
from typing import Any

from fer_edge.bundle_files import BundleFile
from fer_edge.json_check import (
    read_integer,
    read_line,
    read_mapping,
    read_number,
    read_required,
    read_sha256,
    read_text,
)
from fer_edge.preprocess import CropRule
from fer_edge.shown import shown

FILE_KEYS = ("path", "sha256", "bytes")
"""Keys of a listed file."""
_MAX_FILE_BYTES = 2 * 1024**3
"""Largest file, in bytes: protobuf's 2 GiB limit. It also bounds memory: files are read whole."""
_SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,100}")


def parse_crop(value: Any) -> CropRule:
    """Read the crop rule."""
    item = read_required(value, "crop", ("size_px", "margin", "kernel"))
    if item["kernel"] != "halve-bilinear":
        raise ValueError(f"expected the kernel halve-bilinear, got {shown(item['kernel'])}")
    return CropRule(
        read_integer(item["size_px"], "crop.size_px", 8, 4096),
        read_number(item["margin"], "crop.margin", 0, 2),
    )


def parse_file(value: Any, where: str) -> BundleFile:
    """Read a listed file."""
    item = read_required(value, where, FILE_KEYS)
    path = read_text(item["path"], f"{where}.path")
    parts = path.split("/")
    if len(parts) != 2 or not all(_SAFE.fullmatch(part) for part in parts):
        raise ValueError(
            f"{where} lists the file {shown(path)}. Expected folder/name inside the bundle"
        )
    return BundleFile(
        path,
        read_sha256(item["sha256"], f"{where}.sha256"),
        read_integer(item["bytes"], f"{where}.bytes", 0, _MAX_FILE_BYTES),
    )


def parse_batch(value: Any, where: str) -> dict[str, int | None]:
    """Read the smallest and largest batch size."""
    item = read_required(value, where, ("min", "max"))
    lowest = read_integer(item["min"], f"{where}.min", 1, 2**20)
    highest = item["max"]
    if highest is not None and read_integer(highest, f"{where}.max", 1, 2**20) < lowest:
        raise ValueError(f"expected a batch range in {where}, got {lowest} to {highest}")
    return {"min": lowest, "max": highest}


def parse_tools(value: Any, where: str) -> dict[str, str]:
    """Read versions by library."""
    tools = read_mapping(value, where)
    return {read_line(key, where): read_line(tool, where) for key, tool in tools.items()}


def parse_needs(value: Any, where: str) -> dict[str, Any]:
    """Read a variant's needs: plain values by name.

    Engines and messages use them.
    """
    needs = read_mapping(value, where)
    for key, inner in needs.items():
        read_line(key, where)
        _check_plain_value(inner, f"{where}.{key}")
    return needs


def _check_plain_value(value: Any, where: str) -> None:
    if isinstance(value, str):
        read_line(value, where)
    elif isinstance(value, dict):
        parse_needs(value, where)
    elif isinstance(value, list):
        for inner in value:
            _check_plain_value(inner, where)
