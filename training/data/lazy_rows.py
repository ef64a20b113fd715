"""Pictures inside large files, read one by one when they are wanted."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from fer_edge.errors import DataError

Stored = bytes | Path | npt.NDArray[np.uint8]
"""An encoded picture, its file, or its pixels: uint8 ``[H, W]`` grey or ``[H, W, 3]`` BGR."""


class Rows(Protocol):
    """An open file of many pictures."""

    def __getitem__(self, index: int) -> Stored: ...


@dataclass(frozen=True, slots=True)
class LazyRow:
    """One picture of a file that is not held in memory; small, so that workers can be sent it.

    open: a function of a module (it is pickled by name) that opens the file. at: its arguments,
    the path first. Each process opens for itself, once.
    """

    open: Callable[..., Rows]
    at: tuple[str, ...]
    index: int

    def read(self) -> Stored:
        """Raises DataError if the file or this row of it cannot be read."""
        try:
            stored: Stored = _opened(self.open, self.at)[self.index]
            return stored
        except (OSError, KeyError, IndexError, ValueError, TypeError, RuntimeError) as error:
            raise DataError(f"cannot read row {self.index} of {self.at[0]}: {error}") from error


@functools.lru_cache(maxsize=16)
def _opened(open_: Callable[..., Rows], at: tuple[str, ...]) -> Any:
    return open_(*at)


if hasattr(os, "register_at_fork"):
    # An HDF5 handle that two processes share reads one's rows at the other's position.
    os.register_at_fork(before=_opened.cache_clear)
