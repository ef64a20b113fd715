"""Every form in which a data set comes, and the reader of each: one table."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from fer_edge.errors import DataError
from fer_edge.training.data.dataset_spec import DatasetSpec, StoredFace, check_part, part_of
from fer_edge.training.data.readers import csv as source_csv
from fer_edge.training.data.readers import ferplus as source_ferplus
from fer_edge.training.data.readers import folders as source_folders
from fer_edge.training.data.readers import hdf5 as source_hdf5
from fer_edge.training.data.readers import tables as source_tables


class DatasetFormat(NamedTuple):
    """what: in words. fits: whether a path is one. read: its rows of one part."""

    what: str
    fits: Callable[[Path], bool]
    read: Callable[[DatasetSpec, str | None], Iterator[StoredFace]]


def read(source: DatasetSpec, split: str | None) -> Iterator[StoredFace]:
    """The pictures of one part, by the first form that fits. Raises DataError if none does."""
    path = source.file
    if not source_tables.fits_hub(path) and not path.exists():
        raise DataError(f"expected a data set at {path}, found nothing there")
    for form in FORMATS:
        if form.fits(path):
            return form.read(source, split)
    raise DataError(f"expected one of: {', '.join(form.what for form in FORMATS)}; got {path}")


def _parts(path: Path) -> dict[str, list[Path]]:
    parts: dict[str, list[Path]] = {}
    for entry in sorted(path.iterdir()):
        if (entry.is_dir() or entry.suffix == ".parquet") and part_of(entry):
            parts.setdefault(part_of(entry), []).append(entry)
    return parts


def _fits_parts(path: Path) -> bool:
    return path.is_dir() and bool(_parts(path))


def _read_parts(source: DatasetSpec, split: str | None) -> Iterator[StoredFace]:
    """A folder with an entry for each part, of any form: ``train/``, ``val/``, or parquet files
    with that word in their name."""
    parts = _parts(source.file)
    check_part(source, split, parts)
    for entry in parts[str(split)]:
        yield from read(source.below(entry), None)


FORMATS: tuple[DatasetFormat, ...] = (
    DatasetFormat(
        "hf:NAME on the Hugging Face Hub", source_tables.fits_hub, source_tables.read_hub
    ),
    DatasetFormat(
        "a folder of datasets' save_to_disk", source_tables.fits_saved, source_tables.read_saved
    ),
    DatasetFormat("AffectNet", source_folders.fits_affectnet, source_folders.read_affectnet),
    DatasetFormat("FER+ folders", source_ferplus.fits, source_ferplus.read),
    DatasetFormat("RAF-DB", source_folders.fits_raf_db, source_folders.read_raf_db),
    DatasetFormat("a folder with train, val or test", _fits_parts, _read_parts),
    DatasetFormat("KMU-FED", source_folders.fits_kmu_fed, source_folders.read_kmu_fed),
    DatasetFormat("parquet", source_tables.fits_parquet, source_tables.read_parquet),
    DatasetFormat("HDF5", source_hdf5.fits, source_hdf5.read),
    DatasetFormat("the FER2013 CSV", source_csv.fits_fer2013, source_csv.read_fer2013),
    DatasetFormat("a CSV list of files", source_csv.fits_list, source_csv.read_list),
    DatasetFormat("folders named by emotion", Path.is_dir, source_folders.read_classes),
)
"""In this order: the first that fits reads."""
