"""Every form in which a data set comes, and the reader of each: one table."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from fer_edge.errors import DataError
from fer_edge.training.data.dataset_spec import Found, Source, check_part, part_of
from fer_edge.training.data.readers import csv as source_csv
from fer_edge.training.data.readers import ferplus as source_ferplus
from fer_edge.training.data.readers import folders as source_folders
from fer_edge.training.data.readers import hdf5 as source_hdf5
from fer_edge.training.data.readers import tables as source_tables


class Form(NamedTuple):
    """what: in words. fits: whether a path is one. read: its rows of one part."""

    what: str
    fits: Callable[[Path], bool]
    read: Callable[[Source, str | None], Iterator[Found]]


def read(source: Source, split: str | None) -> Iterator[Found]:
    """The pictures of one part, by the first form that fits. Raises DataError if none does."""
    path = source.file
    if not source_tables.fits_hub(path) and not path.exists():
        raise DataError(f"expected a data set at {path}, found nothing there")
    for form in FORMS:
        if form.fits(path):
            return form.read(source, split)
    raise DataError(f"expected one of: {', '.join(form.what for form in FORMS)}; got {path}")


def _parts(path: Path) -> dict[str, list[Path]]:
    parts: dict[str, list[Path]] = {}
    for entry in sorted(path.iterdir()):
        if (entry.is_dir() or entry.suffix == ".parquet") and part_of(entry):
            parts.setdefault(part_of(entry), []).append(entry)
    return parts


def _fits_parts(path: Path) -> bool:
    return path.is_dir() and bool(_parts(path))


def _read_parts(source: Source, split: str | None) -> Iterator[Found]:
    """A folder with an entry for each part, of any form: ``train/``, ``val/``, or parquet files
    with that word in their name."""
    parts = _parts(source.file)
    check_part(source, split, parts)
    for entry in parts[str(split)]:
        yield from read(source.below(entry), None)


FORMS: tuple[Form, ...] = (
    Form("hf:NAME on the Hugging Face Hub", source_tables.fits_hub, source_tables.read_hub),
    Form("a folder of datasets' save_to_disk", source_tables.fits_saved, source_tables.read_saved),
    Form("AffectNet", source_folders.fits_affectnet, source_folders.read_affectnet),
    Form("FER+ folders", source_ferplus.fits, source_ferplus.read),
    Form("RAF-DB", source_folders.fits_raf_db, source_folders.read_raf_db),
    Form("a folder with train, val or test", _fits_parts, _read_parts),
    Form("KMU-FED", source_folders.fits_kmu_fed, source_folders.read_kmu_fed),
    Form("parquet", source_tables.fits_parquet, source_tables.read_parquet),
    Form("HDF5", source_hdf5.fits, source_hdf5.read),
    Form("the FER2013 CSV", source_csv.fits_fer2013, source_csv.read_fer2013),
    Form("a CSV list of files", source_csv.fits_list, source_csv.read_list),
    Form("folders named by emotion", Path.is_dir, source_folders.read_classes),
)
"""In this order: the first that fits reads."""
