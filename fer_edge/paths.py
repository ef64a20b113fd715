"""Checks of the paths that a caller names."""

from __future__ import annotations

import errno
import os
from pathlib import Path


def check_possible(path: str | Path) -> None:
    """Raise OSError for a path that no file can have: with NUL, or half a surrogate pair."""
    try:
        if b"\0" not in os.fsencode(path):
            return
    except UnicodeEncodeError:
        pass
    raise OSError(errno.EINVAL, "no file can have this name", str(path))
