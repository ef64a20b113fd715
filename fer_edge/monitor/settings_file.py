"""Reader of settings files: JSON, or YAML if pyyaml is installed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fer_edge.errors import InputError
from fer_edge.libraries import needed
from fer_edge.manifest import read_json
from fer_edge.paths import as_path
from fer_edge.plain_file import read_plain

_MOST_BYTES = 64 * 1024
"""Largest settings file. All settings written out have 2 KiB."""


def read_settings_file(path: str | Path) -> Any:
    """Read the plain values of a settings file.

    Args:
        path: A file whose name ends in .json, .yaml or .yml.

    Raises:
        InputError: The file cannot be read, or costs more to read than settings can need.
        MissingDependencyError: The file is YAML and pyyaml is not installed.
    """
    path = as_path(path, "the settings")
    if path.suffix.lower() not in (".json", ".yaml", ".yml"):
        raise InputError(f"expected settings in a .json, .yaml or .yml file, got {path}")
    try:
        text = read_plain(path, _MOST_BYTES, pipes=True).decode("utf-8-sig")
    except OSError as error:
        raise InputError(
            f"cannot read settings from {path}: {error.strerror}. Give a file of at most "
            f"{_MOST_BYTES >> 10} KiB"
        ) from error
    except UnicodeDecodeError as error:
        raise InputError(f"cannot read settings from {path}: {error}. Save it as UTF-8") from error
    kind, parse = ("JSON", _json) if path.suffix.lower() == ".json" else ("YAML", _yaml)
    try:
        return parse(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not readable {kind}: {error}. Correct the file") from error


def _json(text: str) -> Any:
    return read_json(text.encode())


def _yaml(text: str) -> Any:
    with needed("pyyaml", "train"):
        from fer_edge.bounded_yaml import parse_yaml
    return parse_yaml(text)
