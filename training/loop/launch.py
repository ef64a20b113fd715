"""Environment variables with which torchrun and accelerate launch start processes."""

from __future__ import annotations

import os

from fer_edge.errors import TrainingError
from fer_edge.shown import shown

_LEAST = {"RANK": 0, "LOCAL_RANK": -1, "WORLD_SIZE": 1, "LOCAL_WORLD_SIZE": 1}
"""Smallest number of each variable. A local rank of -1 stands for a process by itself."""
_NEEDED = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


def check_launch() -> None:
    """Raise TrainingError for variables of a launcher that are left over, odd or incomplete."""
    numbers = {name: _number(name, least) for name, least in _LEAST.items() if name in os.environ}
    processes = numbers.get("WORLD_SIZE", 1)
    if numbers.get("RANK", 0) >= processes:
        raise _odd("RANK", f"of {processes} process(es)")
    cause = "WORLD_SIZE" if processes > 1 else "LOCAL_RANK"
    if processes > 1 or numbers.get("LOCAL_RANK", -1) >= 0:
        for name in _NEEDED:
            if not os.environ.get(name):
                raise _odd(cause, f"but {name} is not set")
        if not os.environ["MASTER_PORT"].isdecimal():
            raise _odd("MASTER_PORT", "which is no port")


def _number(name: str, least: int) -> int:
    try:
        number = int(os.environ[name])
    except ValueError:
        raise _odd(name, "which is no number") from None
    if number < least:
        raise _odd(name, f"which is less than {least}")
    return number


def _odd(name: str, why: str) -> TrainingError:
    value = shown(os.environ[name])
    return TrainingError(f"{name} is {value}, {why}. Unset {name}, or start with torchrun")
