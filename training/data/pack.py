"""Writers of data sets: parquet, HDF5, class folders or a list."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np

from fer_edge.atomic import fill_file, write_folder
from fer_edge.errors import DataError
from fer_edge.libraries import needed
from fer_edge.paths import is_clutter
from fer_edge.progress import Say, Step, say_nothing, silent
from fer_edge.shown import shown
from fer_edge.training.data.dataset_spec import (
    SPLIT_NAMES,
    Broken,
    DatasetSpecs,
    as_dataset_specs,
)
from fer_edge.training.data.faces import LabelledFace, readable_faces
from fer_edge.training.data.ferplus import NAMES
from fer_edge.training.data.folds import name_within
from fer_edge.training.data.lazy_rows import LazyRow
from fer_edge.training.data.parts import Parts, load_parts
from fer_edge.training.data.picture_files import utf8_name

OutputFormat = Literal["parquet", "hdf5", "list", "folders"]

Locate = Callable[[Sequence[LabelledFace], Step], Sequence[LabelledFace | None]]
"""Function that returns each picture with the box of its face. The box is None without a face."""

_ROWS_AT_ONCE = 512
"""Rows between two reports of progress; parquet's row group as well."""
_SUFFIXES: dict[str, OutputFormat] = {".h5": "hdf5", ".hdf5": "hdf5", ".csv": "list"}
_MARKS_OF_PATHS = "/\\:\0"
"""Characters that divide or end paths, on Windows too."""
_LOST_IN_LISTS = set("\\\ufeff")
"""Characters of a file name that the reader of lists replaces."""
_VOTES = [f"ferplus_{'NF' if name == 'not a face' else name}" for name in NAMES]


def pack_datasets(
    sources: DatasetSpecs,
    out: Path,
    *,
    form: OutputFormat | None = None,
    labels: Sequence[str] | None = None,
    broken: Broken = "fail",
    locate: Locate | None = None,
    say: Say = say_nothing,
    step: Step = silent,
) -> dict[str, list[LabelledFace]]:
    """Merge data sets into one with few large files.

    Parts stay as they are. A picture without a name gets its path within its data set. Of several
    data sets, the path begins with a name for the set, so that folds change.

    Args:
        sources: Data sets to merge.
        out: File or folder to write, see ``write_parts``.
        form: Format to write; None chooses it by the suffix of ``out``.
        labels: The model's labels, if user-defined.
        broken: Fail on unreadable pictures, or skip and report them.
        locate: Finds the face of each picture; a picture without one is left out. None writes
            complete pictures.
        say: Reports pictures that are left out.
        step: Reports progress.

    Returns:
        The faces of each part as written.

    Raises:
        DataError: A data set cannot be read, ``out`` exists, or no face is found.
        LabelError: A label is unknown.
    """
    parts, _ = load_parts(sources, labels, say, step)
    written = {part: readable_faces(faces, broken, say, step)[0] for part, faces in parts.items()}
    written = {part: _named(faces, sources) for part, faces in written.items()}
    if locate is not None:
        written = {part: _found(faces, part, locate, say, step) for part, faces in written.items()}
    write_parts(out, written, form, step)
    return written


def _named(faces: Sequence[LabelledFace], sources: DatasetSpecs) -> list[LabelledFace]:
    """Return the faces, with paths within their data sets as names of those without one."""
    paths = sorted({spec.path for spec in as_dataset_specs(sources)}, key=len, reverse=True)
    ends = [Path(path).name for path in paths]
    starts = [f"{end}-{i}" if ends.count(end) > 1 else end for i, end in enumerate(ends)]

    def within(name: str) -> str:
        for path, start in zip(paths, starts, strict=True):
            if (short := name_within(path, name)) != name:
                return short if len(paths) == 1 else f"{start}/{short}"
        return name

    return [replace(face, name=within(face.name)) if face.unnamed else face for face in faces]


def _found(
    faces: Sequence[LabelledFace], part: str, locate: Locate, say: Say, step: Step
) -> list[LabelledFace]:
    """Return the located faces of a part. Raises DataError if there are none."""
    found = [face for face in locate(faces, step) if face is not None]
    if not found:
        raise DataError(f"no face was found in part {part}. Check what its pictures show")
    if missed := len(faces) - len(found):
        say(f"{part}: left out {missed:,} of {len(faces):,} pictures, in which no face was found")
    return found


def write_parts(out: Path, parts: Parts, form: OutputFormat | None, step: Step = silent) -> Path:
    """Write parts as one data set; on an error, write nothing.

    Args:
        out: File or folder to write.
        parts: Faces of each part.
        form: Format. None takes HDF5 for ``.h5`` and ``.hdf5``, a list for ``.csv``, else a folder
            of parquet files such as ``train.parquet``. A list names files below its own folder and
            copies none.
        step: Reports progress.

    Returns:
        The path ``out``.

    Raises:
        DataError: ``out`` exists or cannot be written, a face cannot be read, or a label cannot
            name a folder.
    """
    form = form or _SUFFIXES.get(out.suffix.lower(), "parquet")
    if out.exists() or out.is_symlink():
        raise DataError(f"{out} exists already. Choose another path, or remove it first")
    try:
        if form == "hdf5":
            fill_file(out, lambda path: _hdf5(path, parts, step))
        elif form == "list":
            fill_file(out, lambda path: _list(path, parts, out.parent.resolve()))
        elif form == "folders":
            write_folder(out, lambda folder: _folders(folder, parts, step))
        else:
            write_folder(out, lambda folder: _parquet(folder, parts, step))
    except OSError as error:
        raise DataError(
            f"cannot write {out}: {error.strerror or error}. Choose another path with -o"
        ) from error
    return out


def encoded(face: LabelledFace) -> bytes:
    """Return the encoded picture as stored, or pixels as PNG.

    Raises DataError if the picture cannot be read.
    """
    if face.box is None:
        stored = face.source.read() if isinstance(face.source, LazyRow) else face.source
        if isinstance(stored, Path):
            return stored.read_bytes()
        if isinstance(stored, bytes):
            return stored
    image = face.read()
    grey = (image == image[..., :1]).all()
    return bytes(cv2.imencode(".png", image[..., 0] if grey else image)[1].tobytes())


def _row(face: LabelledFace) -> dict[str, Any]:
    texts = {key: getattr(face, key) for key in ("name", "label", "subject", "clip")}
    row: dict[str, Any] = {key: text and utf8_name(text) for key, text in texts.items()}
    return row | dict(zip(_VOTES, face.votes or [None] * len(_VOTES), strict=True))


def _columns(faces: Sequence[LabelledFace]) -> list[str]:
    """Return the columns that are not empty."""
    known = [key for key in ("label", "subject", "clip") if any(getattr(f, key) for f in faces)]
    columns = ["name", *known]
    return columns + (_VOTES if any(f.votes for f in faces) else [])


def _chunks(
    faces: Sequence[LabelledFace], what: str, step: Step
) -> Iterator[Sequence[LabelledFace]]:
    for first in range(0, len(faces), _ROWS_AT_ONCE):
        yield faces[first : first + _ROWS_AT_ONCE]
        step(what, min(first + _ROWS_AT_ONCE, len(faces)), len(faces))


def _parquet(folder: Path, parts: Parts, step: Step) -> None:
    import pyarrow
    import pyarrow.parquet

    picture = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
    for part, faces in parts.items():
        columns = _columns(faces)
        kinds = [pyarrow.int32() if key in _VOTES else pyarrow.string() for key in columns]
        schema = pyarrow.schema([("image", picture), *zip(columns, kinds, strict=True)])
        with (
            # pyarrow does not open paths that are not UTF-8.
            (folder / f"{part}.parquet").open("wb") as file,
            pyarrow.parquet.ParquetWriter(file, schema) as writer,
        ):
            for chunk in _chunks(faces, f"writing {part}", step):
                rows = [_row(face) for face in chunk]
                table = {"image": [{"bytes": encoded(f), "path": None} for f in chunk]}
                table |= {key: [row[key] for row in rows] for key in columns}
                writer.write_table(pyarrow.table(table, schema=schema))


def _hdf5(path: Path, parts: Parts, step: Step) -> None:
    with needed("h5py", "train"):
        import h5py

    with h5py.File(path, "w") as file:
        for part, faces in parts.items():
            group = file.create_group(part)
            images = group.create_dataset("image", len(faces), h5py.vlen_dtype(np.uint8))
            done = 0
            for chunk in _chunks(faces, f"writing {part}", step):
                for face in chunk:
                    images[done] = np.frombuffer(encoded(face), np.uint8)
                    done += 1
            for key in _columns(faces):
                cells = [_row(face)[key] for face in faces]
                if key in _VOTES:
                    group[key] = np.array([-1 if c is None else c for c in cells], np.int32)
                else:
                    group[key] = np.array([c or "" for c in cells], h5py.string_dtype())


def _folders(folder: Path, parts: Parts, step: Step) -> None:
    for label in {face.label for faces in parts.values() for face in faces}:
        _check_folder_name(label)
    for part, faces in parts.items():
        written: Counter[str] = Counter()
        for chunk in _chunks(faces, f"writing {part}", step):
            for face in chunk:
                data = encoded(face)
                below = folder / part / face.label
                below.mkdir(parents=True, exist_ok=True)
                (below / f"{written[face.label]:06d}{_suffix(data)}").write_bytes(data)
                written[face.label] += 1


def _check_folder_name(label: str) -> None:
    """Raise DataError unless the reader of class folders finds the label; "" stands for none."""
    is_path = label in (".", "..") or any(mark in label for mark in _MARKS_OF_PATHS)
    if is_path or is_clutter(label) or label.lower() in SPLIT_NAMES:
        raise DataError(
            f"the label {shown(label)} cannot name a folder. Rename it, or write parquet or HDF5"
        )


def _suffix(data: bytes) -> str:
    """Return the suffix of an encoded picture, by its first bytes."""
    marks = {b"\x89PNG": ".png", b"\xff\xd8": ".jpg", b"BM": ".bmp", b"RIFF": ".webp"}
    return next(suffix for mark, suffix in marks.items() if data.startswith(mark))


def _list(path: Path, parts: Parts, root: Path) -> None:
    # File names that are not UTF-8 are written as they are: their bytes have to find the file.
    with path.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        all_faces = [face for faces in parts.values() for face in faces]
        columns = [key for key in _columns(all_faces) if key != "name"]
        rows = csv.DictWriter(file, ["path", "split", *columns], extrasaction="ignore")
        rows.writeheader()
        for part, faces in parts.items():
            for face in faces:
                rows.writerow(_row(face) | {"path": _below(face, root), "split": part})


def _below(face: LabelledFace, root: Path) -> str:
    if not isinstance(face.source, Path) or face.box is not None:
        raise DataError(
            f"expected single image files for a list, but {face.name} is part of a larger file. "
            "Write parquet, HDF5 or folders"
        )
    file = face.source.resolve()
    if not file.is_relative_to(root):
        raise DataError(
            f"expected all pictures below the list's folder {root}, but one is {file}. "
            "Write the list into a folder above them"
        )
    path = file.relative_to(root).as_posix()
    if set(path) & _LOST_IN_LISTS:
        raise DataError(
            f"a list cannot name {shown(path)}: readers change \\ and byte order marks. Rename the "
            "file, or write parquet, HDF5 or folders"
        )
    return f"./{path}" if path.startswith(" ") else path  # readers skip spaces before a cell
