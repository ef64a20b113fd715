"""Memory that stays with the process, so that torch does not wait for fresh pages.

GNU's C library gives each large block back to the system as soon as it is freed, and takes new,
empty pages for the next one. In training, each layer's numbers are such a block
(docs/decisions/0071-kept-memory.md).
"""

from __future__ import annotations

import ctypes
import os
import sys

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4
"""Parameters of ``mallopt``, from malloc.h of the GNU C library."""
_CHOICES = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_MAX_", "MALLOC_MMAP_THRESHOLD_")
"""Variables by which a user chooses what is given back."""


def keep_memory() -> bool:
    """Keep freed memory for the next block until the process ends, unless the user chose.

    Returns:
        True if memory is kept. False if the user chose, or without the GNU C library.
    """
    if sys.platform != "linux" or any(name in os.environ for name in _CHOICES):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and bool(mallopt(_MMAP_MAX, 0) and mallopt(_TRIM_THRESHOLD, -1))
