"""Checks of the paths that a caller names, and of names that are clutter."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path

from fer_edge.errors import InputError
from fer_edge.shown import shown

_LITTER = re.compile(
    r"\.DS_Store|\._.*|\.localized|Icon\r|\.AppleDouble|__MACOSX|\.Spotlight-V100|\.Trashes"
    r"|\.fseventsd|(eh)?thumbs\.db|desktop\.ini|\.directory|\$RECYCLE\.BIN|\.nfs[0-9a-f]+"
    r"|\.fuse_hidden[0-9a-f]+|\..+\.sw[a-z]|\.#.+|#.+#|.+~|lost\+found"
    r"|@eaDir|#recycle|#snapshot|@tmp|@Recycle|@Recently-Snapshot|\$Trash"
    r"|System Volume Information|.+@Syno(EAStream|Resource)|.+:Zone\.Identifier"
    r"|\.(bundle|signatures)\.json\..+\.tmp",
    re.IGNORECASE,
)
"""Names of what Finder, Explorer, file servers, editors and killed writers leave behind."""
_CLUTTER_MARKS = (".", "@", "#", "$")
"""First characters of what file systems and servers keep: ._x, @eaDir, #recycle, $RECYCLE.BIN."""


def as_path(value: object, name: str) -> Path:
    """Return an argument as a path.

    Args:
        value: A string or an ``os.PathLike`` object.
        name: Name of the argument, for the message.

    Raises:
        InputError: The argument is anything else, or an empty name.
    """
    if isinstance(value, str) and not value:  # Path("") is the current folder
        raise InputError(f"expected {name} as a path, got an empty name. Name a file or folder")
    try:
        return Path(value)  # type: ignore[arg-type]
    except TypeError as error:
        raise InputError(
            f"expected {name} as a path, got {shown(value)}. Give a str or a pathlib.Path"
        ) from error


def absolute(path: Path) -> Path:
    """Return a path from the root. Raises InputError if the current folder was removed."""
    try:
        return path.absolute()
    except FileNotFoundError as error:
        raise InputError("the current folder was removed. cd to another one") from error


def check_possible(path: str | Path) -> None:
    """Raise OSError for a path that no file can have: with NUL, or half a surrogate pair."""
    try:
        if b"\0" not in os.fsencode(path):
            return
    except UnicodeEncodeError:
        pass
    raise OSError(errno.EINVAL, "no file can have this name", str(path))


def is_litter(name: str) -> bool:
    """Return True for a name that programs leave in folders that are not theirs."""
    return _LITTER.fullmatch(name) is not None


def is_clutter(name: str) -> bool:
    """Return True for litter, and for hidden files."""
    return is_litter(name) or name.startswith(_CLUTTER_MARKS)
