"""Files of ``fer-edge predict``: the images to read, and the drawn pictures to write."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import click

from fer_edge.analysis import Analysis, check_drawn_name, is_drawn
from fer_edge.atomic import sweep_folder
from fer_edge.errors import InputError
from fer_edge.images.files import named_images
from fer_edge.paths import absolute
from fer_edge.preprocess import MAX_FILE_BYTES


@dataclass(frozen=True)
class Source:
    """One image of the command line.

    Attributes:
        name: Path, or ``-`` for standard input.
        error: Reason why the name stands for no image; None if it does.
    """

    name: str
    error: InputError | None = None

    def read(self) -> Path | bytes:
        """Return the path, or the bytes of standard input or of a pipe. Raises InputError."""
        if self.error is not None:
            raise self.error
        path = Path(self.name)
        try:
            if self.name == "-":
                return _whole(sys.stdin.buffer, "standard input")
            if not path.is_fifo():
                return path
            with path.open("rb") as pipe:  # predict <(command)
                return _whole(pipe, self.name)
        except OSError as error:
            raise InputError(
                f"cannot read {self.name}: {error.strerror}. Name a file instead"
            ) from error


def _whole(stream: BinaryIO, name: str) -> bytes:
    """Read a stream to its end.

    Raises InputError if it is empty, or larger than an image file may be. A closed standard input
    is the null device here.
    """
    data = stream.read(MAX_FILE_BYTES + 1)
    if not data:
        raise InputError(
            f"expected an image on {name}, but it is closed or empty. Name a file instead"
        )
    if len(data) > MAX_FILE_BYTES:
        raise InputError(
            f"expected an image of at most {MAX_FILE_BYTES >> 20} MiB on {name}. Shrink it first"
        )
    return data


def sources_of(names: Sequence[str]) -> list[Source]:
    """Expand folders and patterns; each image comes once, in the order of the names."""
    if names.count("-") > 1:
        raise click.UsageError("expected - once: standard input holds one image")
    sources: dict[str, Source] = {}
    for name in names:
        try:
            images = [name] if name == "-" else [str(path) for path in named_images(name)]
        except InputError as error:
            sources[name] = Source(name, error)
        else:
            sources |= {image: Source(image) for image in images}
    return list(sources.values())


class DrawnFiles:
    """Drawn pictures: one file, or a folder with one for each image.

    Args:
        path: The file, by its suffix; anything else is a folder.
        sources: The images. None of their files is written over, and in a folder no file that an
            earlier run did not draw.
    """

    def __init__(self, path: Path, sources: Sequence[Source]) -> None:
        self._path = path
        files = [source.name for source in sources if source.error is None and source.name != "-"]
        self._inputs = {os.path.realpath(absolute(Path(name))) for name in files}
        self._names: set[str] = set()
        self._is_folder = path.is_dir() or not path.suffix
        if self._is_folder:
            sweep_folder(path)  # once: a look at all its names for each picture takes minutes
            return
        if len(sources) > 1:
            raise click.UsageError(
                f"expected a folder for {len(sources)} images, got --save {path}. If it is to be "
                f"one, make it first: mkdir {shlex.quote(str(path))}"
            )
        check_drawn_name(path)

    def save(self, analysis: Analysis, name: str) -> Path:
        """Write the drawn picture and return its path. Raises InputError."""
        out = self._path
        if self._is_folder:
            try:
                out.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise InputError(
                    f"cannot create {out}: {error.strerror}. Choose another --save"
                ) from error
            out = out / self._free_name("stdin" if name == "-" else Path(name).stem)
        if os.path.realpath(absolute(out)) in self._inputs:
            raise InputError(f"{out} is one of the images. Draw into another place with --save")
        if self._is_folder:
            _check_own(out)
        analysis._save(out, sweep=not self._is_folder)
        return out

    def _free_name(self, stem: str) -> str:
        name, number = f"{stem}.png", 1
        while name.lower() in self._names:  # a.png and A.png are one file on some systems
            number += 1
            name = f"{stem}-{number}.png"
        self._names.add(name.lower())
        return name


def _check_own(out: Path) -> None:
    """Raise InputError if a file is there that no run has drawn."""
    try:
        # A pipe would keep is_drawn waiting.
        if not out.is_symlink() and (not out.exists() or (out.is_file() and is_drawn(out))):
            return
    except OSError as error:
        raise InputError(f"cannot read {out}: {error.strerror}. Choose another --save") from error
    raise InputError(f"{out} is there, and fer-edge did not draw it. Choose another --save")
