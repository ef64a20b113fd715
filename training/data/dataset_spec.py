"""Options of one data set, and the faces that its reader returns."""

from __future__ import annotations

import functools
import math
import os
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, get_args

from fer_edge.errors import DataError, InputError, LabelError, MissingPartError
from fer_edge.labels import SOURCE_ORDERS, composed
from fer_edge.paths import absolute
from fer_edge.preprocess import Box
from fer_edge.shown import shown
from fer_edge.training.data.folds import Fold
from fer_edge.training.data.lazy_rows import LazyRow

SPLITS = ("train", "val", "test")
SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "publictest": "val",
    "dev": "val",
    "eval": "val",
    "test": "test",
    "testing": "test",
    "privatetest": "test",
}
WHOLE_NAMES = ("dev", "eval")
"""Names of parts that are no more than a word in others, such as ``eval_results``."""
SHARD_SUFFIXES = (".parquet", ".tar")
"""Suffixes of files that hold pictures of one part."""
MAX_LABEL = 64
"""Largest length of a label."""
_MOST_NAMED = 20
"""Largest number of columns that a message lists."""
_MOST_PATH = 4096
"""Largest length of a file name in a list."""
_MOST_NUMBER = 10**9
"""Bound of a label that is a number."""
_UNKNOWN = {"", "na", "n/a", "<na>", "nan", "none", "null", "unknown", "not stated"}
"""Texts in lower case with which a cell says that nothing is known."""
HUB = "hf:"
"""Prefix of data sets on the Hugging Face Hub."""

Labels = Literal["own", "ferplus", "ferplus-soft", "none"]
Broken = Literal["fail", "skip"]


@dataclass(frozen=True)
class DatasetSpec:
    """One data set and its options, written as ``PATH@key=value,key=value``.

    Attributes:
        path: File or folder, or ``hf:NAME`` for a data set of the Hugging Face Hub.
        labels: ``own`` takes the data set's labels, ``ferplus`` the majority of its FER+ votes.
            ``ferplus-soft`` also takes the distribution of the votes as target. ``none`` ignores
            all labels.
        order: Meaning of numeric labels: a key of SOURCE_ORDERS, or names from 0 on, joined by /.
        drop: Labels whose pictures are left out, joined by /.
        colour: Channel order of stored pixels with three channels.
        broken: ``fail`` on unreadable pictures, or ``skip`` and report them.
        without: Fold that is left out, such as 0/3: the first third by the pictures' names.
        columns: Further columns to read with each face; the data set then needs no labels. None
            reads labels alone. The text form has no such option.
    """

    path: str
    labels: Labels = "own"
    order: str | None = None
    drop: tuple[str, ...] = ()
    colour: Literal["rgb", "bgr"] | None = None
    broken: Broken = "fail"
    without: str | None = None
    columns: tuple[str, ...] | None = None

    @property
    def file(self) -> Path:
        return Path(self.path)

    @property
    def name(self) -> str:
        """Last part of the path, for messages."""
        return self.path if self.path.startswith(HUB) else self.file.name or self.path

    @property
    def described(self) -> str:
        """Name and options that differ from the default.

        The path on this machine is left out.
        """
        return replace(self, path=self.name).text

    @property
    def text(self) -> str:
        """Path and options that differ from the default, as ``parse`` reads them."""
        options = {
            one.name: "/".join(value) if isinstance(value, tuple) else value
            for one in fields(self)
            if one.name not in ("path", "columns")
            and (value := getattr(self, one.name)) != one.default
        }
        return self.path + "@" * bool(options) + ",".join(f"{k}={v}" for k, v in options.items())

    @property
    def skipping(self) -> str:
        """Text of the spec that skips broken pictures, quoted for a shell."""
        return shlex.quote(replace(self, broken="skip").text)

    def located(self) -> DatasetSpec:
        """Return the spec with an absolute path."""
        return self if self.path.startswith(HUB) else self.below(absolute(self.file))

    def below(self, entry: Path) -> DatasetSpec:
        """Return the spec of an entry below, with the same options."""
        return replace(self, path=str(entry))

    def read_for(self, labels: Sequence[str] | None) -> DatasetSpec:
        """Return the spec for a reader; without labels, it needs no column of labels.

        Raises DataError if the faces have to have ``labels``, and the spec leaves labels out.
        """
        if self.labels != "none" or self.columns is not None:
            return self
        if labels is not None:
            raise DataError(
                f"expected labelled faces, but {self.path}@labels=none leaves the labels out. "
                f"To train on them, use --set 'data.unlabelled=[{self.path}]'"
            )
        return replace(self, columns=())

    @staticmethod
    def parse(text: str | Path | DatasetSpec) -> DatasetSpec:
        """Parse ``PATH@key=value,…``. Raises DataError for an unknown option or value."""
        if isinstance(text, DatasetSpec):
            return text
        path, at, options = str(text).rpartition("@")
        if not at or "=" not in options or os.path.exists(text):  # noqa: PTH110  (False for a long name)
            return DatasetSpec(_named(str(text), text))
        values: dict[str, Any] = {}
        known = {one.name for one in fields(DatasetSpec)} - {"path", "columns"}
        for option in options.split(","):
            key, _, value = option.partition("=")
            if key not in known or not value:
                raise DataError(
                    f"expected key=value after the @ of {str(text)!r}, got {option!r}. "
                    f"Keys: {', '.join(sorted(known))}"
                )
            values[key] = tuple(composed(value).split("/")) if key == "drop" else value
        for key, choices in (("labels", Labels), ("broken", Broken), ("colour", _COLOURS)):
            if key in values and values[key] not in get_args(choices):
                raise DataError(
                    f"expected {key} to be {' or '.join(get_args(choices))}, got {values[key]!r}"
                )
        if "without" in values:
            try:
                Fold.parse(values["without"])
            except InputError as error:
                raise DataError(f"{str(text)!r}: without: {error}") from error
        return DatasetSpec(_named(path, text), **values)

    def number_order(self) -> str | tuple[str, ...]:
        """Return the meaning of numeric labels.

        Raises LabelError if ``order`` is not set.

        There is no default: on one data set, the wrong order alone reduced accuracy from 0.54 to
        0.46.
        """
        if self.order is None:
            raise LabelError(
                f"{self.path} labels its pictures with numbers, and numbers have no order. Set it "
                f"with '{self.path}@order=NAME': {', '.join(SOURCE_ORDERS)}, or the names from 0 "
                "on, joined by /"
            )
        if self.order in SOURCE_ORDERS:
            return self.order
        return tuple(composed(self.order).split("/"))


def _named(path: str, text: str | Path) -> str:
    """Return the path of a data set. Raises DataError if it is empty: the current folder."""
    if not path:
        raise DataError(f"expected a data set's path, got {str(text)!r}. Name a file or folder")
    return path


_COLOURS = Literal["rgb", "bgr"]

DatasetSpecs = str | Path | DatasetSpec | Sequence[str | Path | DatasetSpec]
"""One data set, or several that are merged."""


def as_dataset_specs(sources: DatasetSpecs) -> tuple[DatasetSpec, ...]:
    """Parse one data set or several.

    Raises DataError for none, or for an unknown option.
    """
    several = [sources] if isinstance(sources, str | Path | DatasetSpec) else sources
    if not several:
        raise DataError("expected at least one data set, got none")
    return tuple(DatasetSpec.parse(source) for source in several)


def with_broken(sources: DatasetSpecs, broken: str) -> list[DatasetSpec]:
    """Parse data sets; ``skip`` overrides the ``broken`` option of every one."""
    specs = as_dataset_specs(sources)
    return [replace(spec, broken="skip") if broken == "skip" else spec for spec in specs]


@dataclass(frozen=True, slots=True)
class StoredFace:
    """A picture as stored in its data set, before labels are matched.

    Attributes:
        picture: An image file's path, the encoded bytes, or a row of a large file.
        label: Label as spelt in the data set, a number, or None for "no expression".
        name: Name for messages, unique in its data set.
        votes: FER+ votes in the order of SOURCE_ORDERS["ferplus"], or None.
        subject: Person in the picture, or None if unknown.
        clip: Recording of the picture, or None if unknown.
        box: Face in the picture as (x, y, width, height) in pixels; None is the complete picture.
        unnamed: True if the data set has no name for the picture; ``name`` is then its path.
        cells: Text of each column that the spec asks for.
    """

    picture: Path | bytes | LazyRow
    label: str | int | None
    name: str
    votes: tuple[int, ...] | None = None
    subject: str | None = None
    clip: str | None = None
    box: Box | None = None
    unnamed: bool = False
    cells: Mapping[str, str] = field(default_factory=dict, compare=False)


def part_of(path: Path) -> str:
    """Return train, val or test from the name of a file or folder, else "".

    Every word of a shard's name counts. Of a folder's name, the last and then the first count;
    WHOLE_NAMES count alone.

    Raises:
        DataError: A shard's name has words of several parts.
    """
    if path.suffix not in SHARD_SUFFIXES or path.is_dir():
        words = path.stem.lower().replace("_", "-").split("-")
        for word in (words[-1], words[0]):
            if word in SPLIT_NAMES and (word not in WHOLE_NAMES or len(words) == 1):
                return SPLIT_NAMES[word]
        return ""
    words = re.split("[^0-9a-z]+", path.stem.lower())
    parts = sorted({SPLIT_NAMES[word] for word in words if word in SPLIT_NAMES})
    if len(parts) > 1:
        raise DataError(
            f"expected the word of one part in the name {shown(path.name)}, got those of "
            f"{' and '.join(parts)}. Rename the file"
        )
    return parts[0] if parts else ""


def check_shard(source: DatasetSpec, split: str | None) -> None:
    """Check that the only file of a data set is the requested part.

    A file whose name states no part is ``train``. None reads a file of any part.

    Raises:
        MissingPartError: The file is another part.
        DataError: The file's name has words of several parts.
    """
    if split is not None:
        check_part(source, split, {part_of(source.file) or "train"})


def check_part(source: DatasetSpec, split: str | None, parts: Iterable[str]) -> None:
    """Check that a data set has the requested part.

    Raises:
        MissingPartError: The data set has no such part.
        DataError: The data set has parts, and none is requested.
    """
    parts = sorted(set(parts) - {""})
    if parts and split is None:
        raise DataError(f"{source.path} has parts: {', '.join(parts)}. Choose one with --split")
    if parts and split not in parts:
        raise missing_part(source.path, split, parts)
    if not parts and split not in (None, "train"):
        raise MissingPartError(
            f"{source.path} has no {split!r} part; it is not divided into parts. Split it with "
            f"'fer-edge data split {source.path} -o NAME', or read all of it with --split none"
        )


def missing_part(path: object, split: str | None, parts: Iterable[str]) -> MissingPartError:
    """Return the error of data that have other parts than the requested one."""
    return MissingPartError(
        f"{path} has no {split!r} part, only {', '.join(sorted(parts))}. Take a part that it has, "
        f"or divide all of it anew with 'fer-edge data split {path} -o NAME'"
    )


def column_named(name: str, columns: Sequence[str], where: object) -> str:
    """Return a data set's column by its name, in any case of letters.

    Raises:
        DataError: There is no such column; the message lists the columns.
    """
    if name in columns:
        return name
    same = [column for column in columns if column.lower() == name.lower()]
    if len(same) == 1:
        return same[0]
    others = [shown(column) for column in columns if column and column != "image"][:_MOST_NAMED]
    raise DataError(
        f"{where} has no column {shown(name)}. It has: {', '.join(others) or 'no columns'}"
    )


def inside(root: Path, relative: str) -> Path:
    """Return the path of a listed file.

    Raises DataError if the path would lie outside ``root``.
    """
    if not relative or "\0" in relative or len(relative) > _MOST_PATH:
        raise DataError(f"expected a file name, but a list in {root} contains {shown(relative)}")
    path = root / relative.replace("\\", "/")
    if not _lies_inside(path, root):
        raise DataError(f"expected only files inside {root}, but a list names {shown(relative)}")
    return path


def _lies_inside(path: Path, root: Path) -> bool:
    try:
        if path.name == "..":
            return False
        if os.path.islink(path):  # noqa: PTH114  (a third of Path's)
            return path.resolve().is_relative_to(_resolved(root))
        return _resolved(path.parent).is_relative_to(_resolved(root))
    except (OSError, RuntimeError, ValueError):  # a loop of links, or a name that cannot exist
        return False


@functools.lru_cache(maxsize=1024)
def _resolved(folder: Path) -> Path:
    """Return a folder without links; lists name many files in few folders."""
    return folder.resolve()


def stated(cell: Any) -> str | None:
    """Return a cell of people or groups as text, or None if it says that nothing is known.

    A whole number is the same with and without decimals: a column with gaps turns 7 into 7.0.
    """
    if isinstance(cell, bytes):
        cell = cell.decode("utf-8", "replace")
    text = "" if cell is None else str(cell).strip()
    if re.fullmatch(r"-?[0-9]+\.0+", text):
        text = text.partition(".")[0]
    return None if text.lower() in _UNKNOWN else text


def label_of(value: Any, source: DatasetSpec, where: str) -> str | int | None:
    """Return a label cell; None for a missing label where labels are not read."""
    return None if source.labels != "own" and stated(value) is None else as_label(value, where)


def as_label(value: Any, where: str) -> str | int:
    """Return a label cell as a name or a number.

    Raises LabelError for other types, and for a missing label.
    """
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    empty = isinstance(value, str) and not value.strip()
    if empty or value is None or (isinstance(value, float) and math.isnan(value)):
        raise LabelError(f"{where} has no label. Write one, or remove the row")
    if isinstance(value, float) and value.is_integer() and abs(value) < _MOST_NUMBER:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise LabelError(f"expected a label name or number in {where}, got {shown(value)}")
    if isinstance(value, int):
        return value
    text = value.strip()
    if len(text) > MAX_LABEL:
        raise LabelError(
            f"expected a label of at most {MAX_LABEL} characters in {where}, got {shown(value)}"
        )
    if re.fullmatch(r"-?[0-9]{1,9}(\.0+)?", text):
        return int(text.split(".")[0])
    return composed(text)
