"""Cache folders: of the user, by the XDG Base Directory Specification, or named by a caller."""

from __future__ import annotations

import os
from pathlib import Path

from fer_edge.atomic import check_place
from fer_edge.errors import InputError
from fer_edge.paths import absolute, as_path

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


def named_cache(value: object) -> Path:
    """Return the option ``cache_dir`` as an absolute path.

    An engine makes a missing folder. One that is there may be read-only: it then stays as it is.

    Raises:
        InputError: It is no path, or no folder is or can be there.
    """
    folder = absolute(as_path(value, "cache_dir"))
    try:
        if not folder.is_dir():
            check_place(folder, folder=True)
    except OSError as error:
        raise InputError(
            f"expected a folder as cache_dir, got {folder}: {error.strerror}. Name another folder"
        ) from error
    return folder
