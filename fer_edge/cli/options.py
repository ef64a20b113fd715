"""What several commands need."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from fer_edge.atomic import write_file
from fer_edge.errors import InputError

PATH = click.Path(path_type=Path)


def print_json(value: Any) -> None:
    click.echo(json.dumps(value, indent=1, allow_nan=False))


def numbers(text: str) -> list[int]:
    """``1,8,32`` as numbers; anything else is wrong usage."""
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise click.BadParameter(f"expected numbers like 1,8,32, got {text!r}") from None


def write_out(path: Path, content: str | bytes) -> None:
    """Write what a user asked for with -o, whole or not at all. Raises InputError."""
    data = content.encode() if isinstance(content, str) else content
    try:
        write_file(path, data)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}") from error


def part(split: str) -> str | None:
    return None if split == "none" else split


def check_forms(outs: tuple[Path, ...], known: tuple[str, ...]) -> None:
    for out in outs:
        if out.suffix not in known:
            raise InputError(f"expected a name that ends in {', '.join(known)}, got {out}")
        if not out.parent.is_dir():  # said now, and not after minutes of work
            raise InputError(f"cannot write {out}: there is no folder {out.parent}")
