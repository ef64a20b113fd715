"""Check that no other user could have written a file that an engine executes."""

from __future__ import annotations

import os
import stat
from pathlib import Path


def check_owner(path: Path) -> None:
    """Raise PermissionError for a path that another user could have written."""
    if os.name != "posix":
        return
    status = path.stat()
    if status.st_uid not in (0, os.getuid()) or status.st_mode & stat.S_IWOTH:
        raise PermissionError(f"{path} can be written by other users")
