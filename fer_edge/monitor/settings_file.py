"""Reader of settings files: JSON, or YAML if pyyaml is installed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from fer_edge.errors import InputError, MissingDependencyError
from fer_edge.plain_file import read_plain

_MOST_BYTES = 64 * 1024
"""Largest settings file. All settings written out have 2 KiB."""
_MOST_DEPTH = 20
"""Deepest nesting of YAML values. Settings have 3."""


def read_settings_file(path: str | Path) -> Any:
    """Read the plain values of a settings file.

    Args:
        path: A file whose name ends in .json, .yaml or .yml.

    Raises:
        InputError: The file cannot be read, or costs more to read than settings can need.
        MissingDependencyError: The file is YAML and pyyaml is not installed.
    """
    path = Path(path)
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
    return _json(text, path) if path.suffix.lower() == ".json" else _yaml(text, path)


def _json(text: str, path: Path) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is no readable JSON: {error}") from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        raise ValueError("a key stands there twice")
    return values


def _refuse(constant: str) -> float:
    raise ValueError(f"{constant} is no number")


def _yaml(text: str, path: Path) -> Any:
    try:
        import yaml
    except ImportError as error:
        raise MissingDependencyError("pyyaml", "train") from error

    try:
        depth = 0
        for event in yaml.parse(text, yaml.SafeLoader):
            if isinstance(event, yaml.AliasEvent):
                raise InputError(f"{path} has an alias. Write the value out")
            depth += isinstance(event, yaml.CollectionStartEvent)
            depth -= isinstance(event, yaml.CollectionEndEvent)
            if depth > _MOST_DEPTH:
                raise InputError(f"{path} is nested too deeply for settings")
        _check_keys(yaml.compose(text, yaml.SafeLoader), path)
        return yaml.safe_load(text)
    except InputError:
        raise
    # PyYAML's constructors raise the others for values like 2001-99-99 or 0b_.
    except (yaml.YAMLError, ValueError, LookupError, AttributeError, TypeError) as error:
        raise InputError(f"{path} is no readable YAML: {str(error)[:200]}") from error


def _check_keys(node: Any, path: Path) -> None:
    """Raise InputError if a mapping has a key twice. YAML would take the last one."""
    if node is None or isinstance(node.value, str):
        return
    if node.id == "sequence":
        for item in node.value:
            _check_keys(item, path)
        return
    keys = [str(key.value) for key, _ in node.value]
    if len(set(keys)) < len(keys):
        raise InputError(f"{path} has a key twice, from line {node.start_mark.line + 1}")
    for _, value in node.value:
        _check_keys(value, path)
