"""What several commands need."""

from __future__ import annotations

import json
from typing import Any

import click


def print_json(value: Any) -> None:
    click.echo(json.dumps(value, indent=1, allow_nan=False))


def numbers(text: str) -> list[int]:
    """``1,8,32`` as numbers; anything else is wrong usage."""
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise click.BadParameter(f"expected numbers like 1,8,32, got {text!r}") from None
