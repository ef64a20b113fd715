"""What is asked of one data set, and what its reader finds in it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, get_args

from fer_edge.errors import DataError, LabelError, MissingPartError
from fer_edge.labels import SOURCE_ORDERS, label_map
from fer_edge.preprocess import Box
from fer_edge.training.data.lazy_rows import LazyRow

SPLITS = ("train", "val", "test")
SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "publictest": "val",
    "test": "test",
    "testing": "test",
    "privatetest": "test",
}
IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".webp"}
HUB = "hf:"

Labels = Literal["own", "ferplus", "ferplus-soft"]
Broken = Literal["fail", "skip"]


@dataclass(frozen=True)
class DatasetSpec:
    """One data set, and how to take it; ``PATH@key=value,key=value`` in one line.

    path: a file, a folder, or ``hf:NAME`` for a data set of the Hugging Face Hub.
    labels: ``own`` takes the source's labels, ``ferplus`` the majority of its FER+ votes,
    ``ferplus-soft`` their distribution as target as well.
    order: what bare numbers mean: a key of SOURCE_ORDERS or names by ``/`` from 0 on.
    drop: labels, by ``/``, whose pictures are left out. colour: of stored pixels with three
    channels. broken: whether a picture that cannot be read is an error or left out and reported.
    """

    path: str
    labels: Labels = "own"
    order: str | None = None
    drop: tuple[str, ...] = ()
    colour: Literal["rgb", "bgr"] | None = None
    broken: Broken = "fail"

    @property
    def file(self) -> Path:
        return Path(self.path)

    @property
    def name(self) -> str:
        """For people: the last part of the path."""
        return self.path if self.path.startswith(HUB) else self.file.name or self.path

    @property
    def described(self) -> str:
        """The name and what differs from the default, without the path of anybody's machine."""
        options = {
            field.name: "/".join(value) if isinstance(value, tuple) else value
            for field in fields(self)
            if field.name != "path" and (value := getattr(self, field.name)) != field.default
        }
        return self.name + "@" * bool(options) + ",".join(f"{k}={v}" for k, v in options.items())

    def below(self, entry: Path) -> DatasetSpec:
        """A part of this source, taken in the same way."""
        return replace(self, path=str(entry))

    @staticmethod
    def parse(text: str | Path | DatasetSpec) -> DatasetSpec:
        """Raises DataError for an unknown option or value."""
        if isinstance(text, DatasetSpec):
            return text
        path, at, options = str(text).rpartition("@")
        if not at or "=" not in options or Path(text).exists():
            return DatasetSpec(str(text))
        values: dict[str, Any] = {}
        known = {field.name for field in fields(DatasetSpec)} - {"path"}
        for option in options.split(","):
            key, _, value = option.partition("=")
            if key not in known or not value:
                raise DataError(
                    f"expected key=value with a key of {', '.join(sorted(known))} behind the @ "
                    f"of {str(text)!r}, got {option!r}"
                )
            values[key] = tuple(value.split("/")) if key == "drop" else value
        for key, choices in (("labels", Labels), ("broken", Broken), ("colour", _COLOURS)):
            if key in values and values[key] not in get_args(choices):
                raise DataError(
                    f"expected {key} to be {' or '.join(get_args(choices))}, got {values[key]!r}"
                )
        return DatasetSpec(path, **values)

    def number_order(self) -> str | tuple[str, ...]:
        """What numbers mean here. Raises LabelError where nobody said it: 0.46 against 0.54
        accuracy is what the wrong order has cost others."""
        if self.order is None:
            raise LabelError(
                f"{self.path} labels its pictures with numbers, and numbers have no order. Say "
                f"which with '{self.path}@order=NAME': {', '.join(SOURCE_ORDERS)}, or the names "
                "by / from 0 on"
            )
        if self.order in SOURCE_ORDERS:
            return self.order
        return tuple(self.order.split("/"))


_COLOURS = Literal["rgb", "bgr"]

DatasetSpecs = str | Path | DatasetSpec | Sequence[str | Path | DatasetSpec]
"""One data set, or several that are merged."""


def as_dataset_specs(sources: DatasetSpecs) -> tuple[DatasetSpec, ...]:
    """Parse one data set or several. Raises DataError for none, or for an unknown option."""
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
    """A picture as its source has it.

    label: as spelt there, a bare number, or None for one that the source itself calls no
    expression. votes: FER+ votes in the order of SOURCE_ORDERS["ferplus"]. subject, clip: who is
    seen, and in which recording, where the source says it. box: the face in the picture.
    """

    picture: Path | bytes | LazyRow
    label: str | int | None
    name: str
    votes: tuple[int, ...] | None = None
    subject: str | None = None
    clip: str | None = None
    box: Box | None = None


def part_of(path: Path) -> str:
    """train, val or test, by the last or first word of a name; "" if it says none."""
    words = path.stem.lower().replace("_", "-").split("-")
    return SPLIT_NAMES.get(words[-1], "") or SPLIT_NAMES.get(words[0], "")


def check_part(source: DatasetSpec, split: str | None, parts: Iterable[str]) -> None:
    """Raises MissingPartError if a source without this part is asked for it, and DataError if
    one with parts is asked for none."""
    parts = sorted(set(parts) - {""})
    if parts and split is None:
        raise DataError(f"{source.path} holds {', '.join(parts)}: say which with --split")
    if parts and split not in parts:
        raise MissingPartError(f"{source.path} has no {split!r} part, only {', '.join(parts)}")
    if not parts and split not in (None, "train"):
        raise MissingPartError(f"{source.path} has no {split!r} part; it is one undivided set")


def inside(root: Path, relative: str) -> Path:
    """A file that a list names. Raises DataError if it would lie outside ``root``."""
    if "\0" in relative:
        raise DataError(f"expected a file's name, but a list holds {relative!r}")
    path = root / relative.replace("\\", "/")
    if Path(relative).is_absolute() or not path.resolve().is_relative_to(root.resolve()):
        raise DataError(f"expected only files inside {root}, but a list names {relative!r}")
    return path


def pictures(folder: Path) -> Iterator[Path]:
    """The image files of a folder, by name."""
    for file in sorted(folder.iterdir()):
        if file.suffix.lower() in IMAGE_SUFFIXES:
            yield file


def as_label(value: Any, where: str) -> str | int:
    """A label cell as a name or a number."""
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise LabelError(f"expected a label's name in {where}, got {value!r}")
    if isinstance(value, str) and re.fullmatch(r"-?\d+", value.strip()):
        return int(value)
    return value


def spelt(found: Iterable[StoredFace], own: Iterable[str]) -> dict[str, str]:
    return label_map((f.label for f in found if isinstance(f.label, str)), tuple(own))
