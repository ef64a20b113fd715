"""Cache folder of the user, by the XDG Base Directory Specification."""

from __future__ import annotations

import os
from pathlib import Path

_SYSTEM = Path("/var/cache")


def cache_folder() -> Path:
    """Return ``XDG_CACHE_HOME`` or ``~/.cache``; ``/var/cache`` for a user without a home folder.

    It is never in a folder for temporary files, where other users could put code. The
    specification asks to ignore a value that is not absolute: it would mean another folder for
    each current one.
    """
    named = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if named.is_absolute():
        return named
    try:
        home = Path.home()
    except RuntimeError:  # neither HOME nor an entry of this user
        return _SYSTEM
    return home / ".cache" if home.is_absolute() else _SYSTEM
