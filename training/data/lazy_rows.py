"""Pictures inside large files, read one by one on demand."""

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
"""Encoded picture, its file, or its pixels.

Pixels are uint8 ``[H, W]`` grey or ``[H, W, 3]`` BGR.
"""


class Rows(Protocol):
    """Open file with many pictures."""

    def __getitem__(self, index: int) -> Stored: ...


@dataclass(frozen=True, slots=True)
class LazyRow:
    """One picture in a file that is not loaded.

    It is small enough to send to worker processes.

    Each process opens the file once for itself.

    Attributes:
        open: Module-level function that opens the file; it is pickled by name.
        at: Arguments of ``open``, the path first.
        index: Row in the file, from 0.
    """

    open: Callable[..., Rows]
    at: tuple[str, ...]
    index: int

    def read(self) -> Stored:
        """Return the picture.

        Raises DataError if the file or this row cannot be read.
        """
        try:
            stored: Stored = _opened(self.open, self.at)[self.index]
            return stored
        except (OSError, KeyError, IndexError, ValueError, TypeError, RuntimeError) as error:
            raise DataError(f"cannot read row {self.index} of {self.at[0]}: {error}") from error


@functools.lru_cache(maxsize=16)
def _opened(open_: Callable[..., Rows], at: tuple[str, ...]) -> Any:
    return open_(*at)


if hasattr(os, "register_at_fork"):
    # Two processes that share an HDF5 handle move each other's file position.
    os.register_at_fork(before=_opened.cache_clear)
