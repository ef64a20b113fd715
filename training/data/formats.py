"""Table of the supported data set formats and their readers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from fer_edge.errors import DataError
from fer_edge.images.files import IMAGE_SUFFIXES
from fer_edge.shown import shown
from fer_edge.training.data.dataset_spec import (
    SHARD_SUFFIXES,
    WHOLE_NAMES,
    DatasetSpec,
    StoredFace,
    check_part,
    part_of,
)
from fer_edge.training.data.picture_files import PassedOver, pictures, without_clutter
from fer_edge.training.data.readers import csv as csv_reader
from fer_edge.training.data.readers import ferplus as ferplus_reader
from fer_edge.training.data.readers import folders, hdf5, parquet, tables, tar


class DatasetFormat(NamedTuple):
    """One format of data set.

    Attributes:
        description: Name of the format in words.
        fits: Return True if a path has this format.
        read: Yield the pictures of one part, and the files that were passed over.
    """

    description: str
    fits: Callable[[Path], bool]
    read: Callable[[DatasetSpec, str | None], Iterator[StoredFace | PassedOver]]


def read(source: DatasetSpec, split: str | None) -> Iterator[StoredFace | PassedOver]:
    """Yield the pictures of one part with the first format that fits.

    Yields the counts of files that were passed over as well.

    Args:
        source: Data set and its options.
        split: ``train``, ``val``, ``test``, or None for a data set without parts.

    Raises:
        DataError: The path does not exist, or no format fits.
    """
    path = source.file
    if not tables.fits_hub(path) and not path.exists():
        raise DataError(f"expected a data set at {path}, found nothing there")
    if path.exists() and not path.is_file() and not path.is_dir():
        raise DataError(f"expected a file or folder at {path}, found a device or pipe")
    for form in FORMATS:
        if form.fits(path):
            return form.read(source, split)
    raise DataError(
        f"expected one of: {', '.join(form.description for form in FORMATS)}; got {path}"
    )


def _parts(path: Path) -> dict[str, list[Path]]:
    """Return the folders and shards by the part in their name; "" is no part."""
    parts: dict[str, list[Path]] = {}
    for entry in without_clutter(path):
        if entry.is_dir() or entry.suffix in SHARD_SUFFIXES:
            parts.setdefault(part_of(entry), []).append(entry)
    return parts


def _fits_parts(path: Path) -> bool:
    return path.is_dir() and any(_parts(path))


def _with_pictures(entries: Sequence[Path]) -> tuple[str, ...]:
    """Return the names of shards, and of folders that hold a picture."""
    return tuple(
        entry.name
        for entry in entries
        if entry.is_file() or next(pictures(entry, PassedOver()), None) is not None
    )


def _check_one_of_each(parts: Mapping[str, Sequence[Path]], path: Path) -> None:
    """Raise DataError if a folder named dev or eval stands beside another of the same part."""
    for part, entries in parts.items():
        names = [entry.name for entry in entries if entry.is_dir()]
        if part and len(names) > 1 and any(name.lower() in WHOLE_NAMES for name in names):
            raise DataError(
                f"expected one folder for {part} in {path}, got {' and '.join(map(shown, names))}. "
                "Move all but one out of the folder"
            )


def _read_parts(source: DatasetSpec, split: str | None) -> Iterator[StoredFace | PassedOver]:
    """Read a folder with an entry for each part, of any format.

    Entries are folders such as ``train/`` and ``val/``, or parquet files and tar shards with that
    word in their name. What else may hold pictures is reported.
    """
    parts = _parts(source.file)
    _check_one_of_each(parts, source.file)
    check_part(source, split, parts)
    yield PassedOver(no_part=_with_pictures(parts.get("", ())))
    entries = parts[str(split)]
    if any(entry.is_dir() for entry in entries):  # beside shards, pictures are previews
        beside = [entry for entry in without_clutter(source.file) if not entry.is_dir()]
        yield PassedOver(unplaced=sum(entry.suffix.lower() in IMAGE_SUFFIXES for entry in beside))
    if all(entry.suffix == ".parquet" for entry in entries):
        yield from parquet.read_shards(entries, source)
        return
    for entry in entries:
        yield from read(source.below(entry), None)


FORMATS: tuple[DatasetFormat, ...] = (
    DatasetFormat("hf:NAME on the Hugging Face Hub", tables.fits_hub, tables.read_hub),
    DatasetFormat("a folder of datasets' save_to_disk", tables.fits_saved, tables.read_saved),
    DatasetFormat("AffectNet", folders.fits_affectnet, folders.read_affectnet),
    DatasetFormat("FER+ folders", ferplus_reader.fits, ferplus_reader.read),
    DatasetFormat("RAF-DB", folders.fits_raf_db, folders.read_raf_db),
    DatasetFormat("a folder with train, val or test", _fits_parts, _read_parts),
    DatasetFormat("KMU-FED", folders.fits_kmu_fed, folders.read_kmu_fed),
    DatasetFormat("parquet", parquet.fits, parquet.read),
    DatasetFormat("tar shards of WebDataset", tar.fits, tar.read),
    DatasetFormat("HDF5", hdf5.fits, hdf5.read),
    DatasetFormat("the FER2013 CSV", csv_reader.fits_fer2013, csv_reader.read_fer2013),
    DatasetFormat("a CSV list of files", csv_reader.fits_list, csv_reader.read_list),
    DatasetFormat("folders named by emotion", Path.is_dir, folders.read_classes),
)
"""All formats; the first that fits reads the data set."""
