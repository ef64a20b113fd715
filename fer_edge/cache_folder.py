"""Cache folder of the user, by the XDG Base Directory Specification."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path | None:
    """Return ``XDG_CACHE_HOME`` or ``~/.cache``; None for a user without a home folder.

    The specification asks to ignore a value that is not absolute: it would mean another folder for
    each current one.
    """
    named = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if named.is_absolute():
        return named
    try:
        home = Path.home()
    except RuntimeError:  # neither HOME nor an entry of this user
        return None
    return home / ".cache" if home.is_absolute() else None
