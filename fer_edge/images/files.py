"""Image files that a user names: paths, folders and patterns."""

from __future__ import annotations

import glob
from collections import Counter
from pathlib import Path

from fer_edge.errors import InputError
from fer_edge.shown import without_password

IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".dib", ".webp"}
"""Suffixes of the images in a folder. Data sets judge other files by their first bytes."""
_OTHER_PICTURES = {".heic", ".heif", ".avif", ".tif", ".tiff", ".gif", ".jp2", ".jxl", ".dng"}
"""Suffixes of pictures that are not read, such as those of phones."""


def named_images(name: str) -> list[Path]:
    """Return the image files that a name stands for, sorted.

    Args:
        name: A file; a folder, which stands for the images directly in it; or a pattern with
            ``*``, ``?`` or ``[...]``, because Windows' shells do not expand them.

    Raises:
        InputError: Nothing fits the name, or it is empty or a web address.
    """
    if "://" in name:
        raise InputError(
            f"expected a file, got the address {without_password(name)}. Download it first, or "
            "pipe it: curl -sL ADDRESS | fer-edge predict -"
        )
    if not name:
        raise InputError("expected an image file, got an empty name. Name a file or folder")
    if "\0" in name:
        raise InputError(f"expected a file, got the impossible name {name!r}")
    path = Path(name)
    try:
        if path.is_dir():
            images = _in_folder(path)
        elif path.exists() or not glob.has_magic(name):
            images = [path]
        else:  # glob.glob, because Path.glob takes no absolute pattern
            matches = map(Path, glob.glob(name))  # noqa: PTH207
            images = sorted(file for file in matches if file.is_file())
    except (OSError, ValueError) as error:  # no permission
        raise InputError(f"cannot read {name!r}: {error}") from error
    if images:
        return images
    if path.is_dir():
        raise InputError(
            f"expected JPEG, PNG, BMP or WebP files in the folder {name}, found none. "
            f"{unread_pictures(name) or 'Sub-folders are not read: name them'}"
        )
    raise InputError(f"expected a pattern that matches a file, got {name}. Check the folder")


def unread_pictures(name: str) -> str:
    """Return a sentence on the pictures in a folder that are not read, "" if there are none."""
    try:
        inside = Path(name).iterdir() if name else ()  # Path("") is the current folder
        suffixes = [e.suffix.lower() for e in inside if not e.name.startswith(".")]
    except (OSError, ValueError):  # no folder
        return ""
    counts = Counter(suffix for suffix in suffixes if suffix in _OTHER_PICTURES)
    if not counts:
        return ""
    kinds = ", ".join(f"{count:,} {suffix}" for suffix, count in sorted(counts.items()))
    return f"Pictures in {name} that are not read: {kinds}. Convert them to JPEG"


def _in_folder(folder: Path) -> list[Path]:
    return sorted(
        entry
        for entry in folder.iterdir()
        if entry.suffix.lower() in IMAGE_SUFFIXES
        and not entry.name.startswith(".")
        and entry.is_file()
    )
