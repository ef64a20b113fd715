"""Faces with labels, from the forms in which FER data sets come. Names decide, never indices."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from fer_edge.errors import DataError, InputError, LabelError, MissingPartError
from fer_edge.labels import SOURCE_ORDERS, canonical
from fer_edge.preprocess import Image, decode_image, read_image

SPLITS = ("train", "val", "test")
_SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "publictest": "val",
    "test": "test",
    "privatetest": "test",
}
_IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".webp"}
_FER2013_SIDE_PX = 48


@dataclass(frozen=True)
class Face:
    """One labelled picture: an image file's path, or the encoded bytes themselves.

    label: canonical name. votes: FER+ votes in the order of SOURCE_ORDERS["ferplus"], or None.
    """

    source: Path | bytes
    label: str
    name: str
    votes: tuple[int, ...] | None = None

    def read(self) -> Image:
        """The picture, uint8 BGR ``[H, W, 3]``. Raises DataError, naming the face, if broken."""
        try:
            if isinstance(self.source, Path):
                return read_image(self.source)
            return decode_image(self.source, self.name)
        except InputError as error:
            raise DataError(str(error)) from error


def load_faces(
    source: str | Path, split: str | None = None, labels: Sequence[str] | None = None
) -> list[Face]:
    """Read a data set's index (pictures stay encoded, or on disk, until they are used).

    source: a parquet file (columns ``image``, and ``fer2013_label`` or ``label``), the Kaggle
    FER2013 CSV, a folder of class folders, or a folder holding ``train``/``val``/``test`` as
    folders, or as parquet files with that word in their name.
    split: ``train``, ``val`` or ``test``; None takes a source that has no splits, whole.
    labels: the canonical names wanted; a face with another one is an error.

    Raises MissingPartError (no such split), DataError (missing, empty, unreadable), LabelError (a
    name that is not an emotion).
    """
    path = Path(source)
    if not path.exists():
        raise DataError(f"expected a data set at {path}, found nothing there")
    if split is not None and split not in SPLITS:
        raise DataError(f"expected split train, val or test, got {split!r}")
    faces = list(_read(path, split))
    if not faces:
        raise DataError(
            f"no faces found in {path}" + (f" for split {split!r}" if split else "") + ". "
            "Expected parquet, the FER2013 CSV or folders named by emotion"
        )
    if labels is not None and (foreign := {face.label for face in faces} - set(labels)):
        raise LabelError(
            f"{path} holds {', '.join(sorted(foreign))}, "
            f"but the model knows only {', '.join(labels)}"
        )
    return faces


def _read(path: Path, split: str | None) -> Iterator[Face]:
    if path.is_dir():
        yield from _read_folder(path, split)
    elif path.suffix == ".parquet":
        part = _part(path)
        if split not in (None, part or "train"):
            raise MissingPartError(f"{path} is one file, and not the {split!r} part of a data set")
        yield from _read_parquet(path)
    elif path.suffix == ".csv":
        yield from _read_csv(path, split)
    else:
        raise DataError(f"expected a .parquet or .csv file or a folder, got {path}")


def _read_folder(path: Path, split: str | None) -> Iterator[Face]:
    by_split: dict[str, list[Path]] = {}
    for entry in sorted(path.iterdir()):
        if entry.is_dir() or entry.suffix == ".parquet":
            by_split.setdefault(_part(entry), []).append(entry)
    splits = sorted(set(by_split) - {""})
    if splits:
        if split is None:
            raise DataError(f"{path} holds {', '.join(splits)}: say which with --split")
        if split not in by_split:
            raise MissingPartError(f"{path} has no {split!r} part, only {', '.join(splits)}")
        for entry in by_split[split]:
            yield from _read(entry, None)
        return
    csvs = sorted(path.glob("*.csv"))
    if csvs and not by_split:
        yield from _read_csv(csvs[0], split)
        return
    if split not in (None, "train"):
        raise MissingPartError(f"{path} has no {split!r} part; it is one set of class folders")
    for folder in by_split.get("", []):
        if folder.suffix == ".parquet":
            yield from _read_parquet(folder)
            continue
        label = canonical(folder.name)
        for file in sorted(folder.iterdir()):
            if file.suffix.lower() in _IMAGE_SUFFIXES:
                yield Face(file, label, str(file))


def _part(path: Path) -> str:
    """train, val or test, by the last word of a file's or folder's name; "" if it says none."""
    return _SPLIT_NAMES.get(path.stem.lower().replace("_", "-").split("-")[-1], "")


def _read_parquet(path: Path) -> Iterator[Face]:
    import pyarrow
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.read_table(path)
    except (OSError, pyarrow.ArrowException) as error:
        raise DataError(f"cannot read {path}: {error}") from error
    columns = set(table.column_names)
    label_column = "fer2013_label" if "fer2013_label" in columns else "label"
    if not {"image", label_column} <= columns:
        raise DataError(
            f"expected columns image and label (or fer2013_label) in {path}, "
            f"found {', '.join(sorted(columns))}"
        )
    vote_columns = sorted(c for c in columns if c.startswith("ferplus_"))
    order = [_vote_column(name, vote_columns, path) for name in SOURCE_ORDERS["ferplus"]]
    names = table["name"].to_pylist() if "name" in columns else range(table.num_rows)
    votes: Iterable[tuple[int, ...] | None] = [None] * table.num_rows
    if vote_columns:
        votes = list(zip(*(table[c].to_pylist() for c in order), strict=True))
    for image, label, name, vote in zip(
        table["image"].to_pylist(), table[label_column].to_pylist(), names, votes, strict=True
    ):
        if not isinstance(label, str):
            raise LabelError(
                f"expected label names in {path}, got {label!r}: indices have no order"
            )
        if not isinstance(image, dict) or not isinstance(image.get("bytes"), bytes):
            raise DataError(
                f"expected column image of {path} to hold the encoded picture as bytes, in a "
                f"struct of bytes and path; row {name} holds {type(image).__name__}"
            )
        yield Face(image["bytes"], canonical(label), str(name), vote)


def _vote_column(name: str, columns: list[str], path: Path) -> str:
    """The parquet column that holds the FER+ votes for one name, however it is spelt."""
    for column in columns:
        spelt = column.removeprefix("ferplus_").replace("_", " ").lower()
        if spelt == name or (name == "not a face" and spelt == "nf"):
            return column
        try:
            if canonical(spelt) == name:
                return column
        except LabelError:
            continue
    if columns:
        raise DataError(f"{path} has FER+ columns, but none for {name!r}: {', '.join(columns)}")
    return ""


def _read_csv(path: Path, split: str | None) -> Iterator[Face]:
    """The Kaggle form: emotion (0-6), pixels (48x48 numbers), Usage."""
    order = SOURCE_ORDERS["fer2013-csv"]
    found = set()
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        rows = csv.DictReader(file, skipinitialspace=True)  # one of Kaggle's files has " pixels"
        if not {"emotion", "pixels"} <= set(rows.fieldnames or ()):
            raise DataError(
                f"expected columns emotion, pixels, Usage in {path}, got {rows.fieldnames}"
            )
        for line, row in enumerate(rows, start=2):
            usage = _SPLIT_NAMES.get((row.get("Usage") or "train").lower(), "")
            found.add(usage)
            if split is not None and usage != split:
                continue
            try:
                pixels = np.array(row["pixels"].split(), np.uint8)
                image = pixels.reshape(_FER2013_SIDE_PX, _FER2013_SIDE_PX)
                emotion = row["emotion"].strip()
                label = order[int(emotion)] if emotion.isdigit() else canonical(emotion)
            except (ValueError, OverflowError, IndexError, AttributeError) as error:
                raise DataError(f"{path}, line {line}: not a FER2013 row: {error}") from error
            yield Face(cv2.imencode(".png", image)[1].tobytes(), label, f"{path.stem}:{line}")
    if found and split is not None and split not in found:
        raise MissingPartError(f"{path} has no {split!r} rows, only {', '.join(sorted(found))}")


def pixel_hash(face: Face) -> str:
    """SHA-256 of the decoded pixels and their shape: equal for twins in different files."""
    image = face.read()
    return hashlib.sha256(repr(image.shape).encode() + image.tobytes()).hexdigest()


def fingerprint(faces: Sequence[Face], hashes: Sequence[str]) -> str:
    """SHA-256 over every picture and its label, independent of file names and order."""
    lines = sorted(f"{h} {face.label}" for face, h in zip(faces, hashes, strict=True))
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def without_twins(
    faces: Sequence[Face], hashes: Sequence[str], others: Iterable[str]
) -> tuple[list[Face], list[str]]:
    """Faces, and their hashes, whose picture is not among ``others``."""
    known = set(others)
    kept = [(f, h) for f, h in zip(faces, hashes, strict=True) if h not in known]
    return [f for f, _ in kept], [h for _, h in kept]


def hold_out(hashes: Sequence[str], labels: Sequence[str], share: float, seed: int) -> list[int]:
    """Indices of a held-out part: stratified by label, seeded, twins never on both sides.

    At least one picture of each label, and of a picture that carries two labels both.
    """
    rng = np.random.default_rng(seed)
    held: set[str] = set()
    for label in sorted(set(labels)):
        pictures = sorted({h for h, own in zip(hashes, labels, strict=True) if own == label})
        count = max(1, round(share * len(pictures)))
        held.update(rng.choice(np.array(pictures), size=count, replace=False).tolist())
    return [i for i, h in enumerate(hashes) if h in held]


def stratified(faces: Sequence[Face], count: int, seed: int) -> list[Face]:
    """A seeded sample with the classes as evenly filled as the data allow."""
    rng = np.random.default_rng(seed)
    by_label: dict[str, list[Face]] = {}
    for face in sorted(faces, key=lambda f: f.name):
        by_label.setdefault(face.label, []).append(face)
    queues = [
        [group[i] for i in rng.permutation(len(group))] for _, group in sorted(by_label.items())
    ]
    picked: list[Face] = []
    while len(picked) < count and any(queues):
        for queue in queues:
            if queue and len(picked) < count:
                picked.append(queue.pop())
    return picked
