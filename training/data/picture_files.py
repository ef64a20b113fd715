"""Picture files in folders, without the clutter of other programs.

Cameras, editors and file systems write such clutter.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from fer_edge.images.files import IMAGE_SUFFIXES
from fer_edge.paths import is_clutter
from fer_edge.shown import shown

_HEAD_BYTES = 12
_MOST_NAMED = 5


@dataclass
class PassedOver:
    """Files of a data set that are not read.

    Attributes:
        by_suffix: Number of files by suffix.
        links: Number of links to folders.
        unplaced: Number of pictures outside a class folder.
        no_part: Names of folders with pictures, and of shards, that state no part.
    """

    by_suffix: Counter[str] = field(default_factory=Counter)
    links: int = 0
    unplaced: int = 0
    no_part: tuple[str, ...] = ()

    def __add__(self, other: PassedOver) -> PassedOver:
        return PassedOver(
            self.by_suffix + other.by_suffix,
            self.links + other.links,
            self.unplaced + other.unplaced,
            self.no_part + other.no_part,
        )

    def __str__(self) -> str:
        """Return the sentences for the user, "" if there are none."""
        return ". ".join(filter(None, (self._no_part(), self._files())))

    def _no_part(self) -> str:
        if not self.no_part:
            return ""
        named = ", ".join(map(shown, self.no_part[:_MOST_NAMED]))
        more = len(self.no_part) - _MOST_NAMED
        named += f" and {more} more" if more > 0 else ""
        return (
            f"not read, because the names state no part: {named}. "
            "Rename those that belong to train, val or test"
        )

    def counts(self) -> dict[str, int]:
        """Return the number of files by suffix, and of what else was passed over."""
        more = {"linked folders": self.links, "pictures outside a class folder": self.unplaced}
        return dict(sorted(self.by_suffix.items())) | {key: n for key, n in more.items() if n}

    def _files(self) -> str:
        return passed_over_files(self.counts(), "files in class folders")


def passed_over_files(counts: dict[str, int], read: str) -> str:
    """Return the sentences about files that were passed over, "" if there are none."""
    if not counts:
        return ""
    return (
        f"{sum(counts.values()):,} files were passed over: "
        f"{', '.join(f'{n:,} {what}' for what, n in counts.items())}. JPEG, PNG, BMP and WebP "
        f"{read} are read; convert or move the others"
    )


def without_clutter(folder: Path, pattern: str = "*") -> list[Path]:
    """Return a folder's entries that match, sorted, without clutter."""
    return sorted(entry for entry in folder.glob(pattern) if not is_clutter(entry.name))


def pictures(folder: Path, passed_over: PassedOver, deep: bool = True) -> Iterator[Path]:
    """Yield the pictures in a folder, sorted by path.

    Args:
        folder: Folder to read.
        passed_over: Counts the files that are not pictures; clutter does not count.
        deep: Read sub-folders too; links to folders are not followed.
    """
    waiting = [folder]  # a loop: folders may be nested deeper than Python's stack
    while waiting:
        files, below = [], []
        for entry in without_clutter(waiting.pop()):
            if not entry.is_dir():
                files.append(entry)
            elif deep and entry.is_symlink():
                passed_over.links += 1
            elif deep:
                below.append(entry)
        for file in files:
            if is_picture(file):
                yield file
            else:
                passed_over.by_suffix[utf8_name(file.suffix.lower()) or "without a suffix"] += 1
        waiting += reversed(below)


def is_picture(file: Path) -> bool:
    """Return True by the suffix, else by the first bytes."""
    if file.suffix.lower() in IMAGE_SUFFIXES:
        return True
    if not file.is_file():
        return False
    with file.open("rb") as opened:
        head = opened.read(_HEAD_BYTES)
    return (
        head.startswith((b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"))
        or (head[:2] == b"BM" and head[6:10] == bytes(4))
        or (head[:4] == b"RIFF" and head[8:] == b"WEBP")
    )


def holds_pictures(folder: Path) -> bool:
    """Return True if a folder directly holds a picture, by its suffix."""
    return any(entry.suffix.lower() in IMAGE_SUFFIXES for entry in without_clutter(folder))


def utf8_name(name: str) -> str:
    """Return a file name as text that every format can hold.

    Names that are not UTF-8 have surrogates in Python; they become escapes like ``\\udcfc``.
    """
    return name.encode("utf-8", "backslashreplace").decode("utf-8")
