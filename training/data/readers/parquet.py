"""Reader of parquet files with a row per picture."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from fer_edge.errors import DataError
from fer_edge.training.data.bounds import check_memory, check_rows
from fer_edge.training.data.dataset_spec import DatasetSpec, StoredFace, check_part, check_shard
from fer_edge.training.data.lazy_rows import LazyRow
from fer_edge.training.data.picture_files import without_clutter
from fer_edge.training.data.readers.parquet_pages import Group, pages, row_groups
from fer_edge.training.data.readers.tables import (
    LABELS,
    Pictures,
    cells_of,
    from_columns,
    import_datasets,
    picture_bytes,
    used_columns,
)

IN_MEMORY_BYTES = 256 << 20
"""Largest size in bytes of a part's pictures in memory, over all shards. FER2013 has 46 MB."""
_ROWS_AT_ONCE = 16
"""Pictures that are unpacked at once; a dictionary can repeat a large one."""
_MOST_METADATA_BYTES = 1 << 20
_THRIFT_LIMITS = {"thrift_string_size_limit": 8 << 20, "thrift_container_size_limit": 100_000}


def fits(path: Path) -> bool:
    return path.suffix == ".parquet" or (path.is_dir() and bool(without_clutter(path, "*.parquet")))


def read(source: DatasetSpec, split: str | None) -> Iterator[StoredFace]:
    """Read one file, or a folder of shards.

    The name of a file tells its part; a file without one is train.
    """
    if source.file.is_dir():
        check_part(source, split, ())
        yield from read_shards(without_clutter(source.file, "*.parquet"), source)
        return
    check_shard(source, split)
    yield from read_shards([source.file], source)


def read_shards(shards: Sequence[Path], source: DatasetSpec) -> Iterator[StoredFace]:
    """Read the files of one part; their first ``IN_MEMORY_BYTES`` of pictures stay in memory."""
    room = IN_MEMORY_BYTES
    for shard in shards:
        images, columns, metadata = _loaded(shard, source.columns, room)
        room -= sum(len(image) for image in images if isinstance(image, bytes))
        yield from from_columns(images, columns, shard, source, _class_names(metadata))


def _loaded(
    path: Path, more: Sequence[str] | None, room: int
) -> tuple[Sequence[Any], dict[str, list[Any]], Any]:
    if not path.is_file():  # opening a FIFO would wait forever
        raise DataError(f"expected a parquet file at {path}, found none")
    with path.open("rb") as opened:
        try:
            return _read(opened, path, more, room)
        except (DataError, ModuleNotFoundError):
            raise
        except Exception as error:  # a damaged file can make pyarrow raise anything
            raise DataError(f"cannot read {path}: {error}") from error


def _read(
    opened: BinaryIO, path: Path, more: Sequence[str] | None, room: int
) -> tuple[Sequence[Any], dict[str, list[Any]], Any]:
    """Return the pictures, the cells of each used column, and the schema's metadata."""
    import pyarrow.parquet

    size = path.stat().st_size
    groups = row_groups(opened, size, path)
    rows = sum(group.rows for group in groups)
    check_rows(rows, size, path)
    file = pyarrow.parquet.ParquetFile(opened, **_THRIFT_LIMITS)
    schema = file.schema_arrow
    used = used_columns(schema.names, path, more)
    _check_types(schema, used, path)
    _check_pages(opened, groups, {"image.bytes", *used}, path, size)
    strings = [name for name in used if pyarrow.types.is_string(schema.field(name).type)]
    # Read as dictionaries: a text that repeats is then held once.
    file = pyarrow.parquet.ParquetFile(opened, read_dictionary=strings, **_THRIFT_LIMITS)
    table = file.read(columns=used, use_threads=False)
    columns = {name: cells_of(table[name], f"{path}, column {name}") for name in used}
    if _picture_bytes_stated(groups) > room:
        at = (str(path.resolve()),)
        return [LazyRow(open_pictures, at, i) for i in range(rows)], columns, schema.metadata
    return _pictures(file, path, size), columns, schema.metadata


def _pictures(file: Any, path: Path, size: int) -> list[bytes]:
    images: list[bytes] = []
    total = 0
    for batch in file.iter_batches(_ROWS_AT_ONCE, columns=["image.bytes"], use_threads=False):
        for cell in batch.column(0):
            images.append(picture_bytes(cell.as_py(), f"{path}, row {len(images)}"))
            total += len(images[-1])
        check_memory(total, size, path)
    return images


def _check_types(schema: Any, used: Sequence[str], path: Path) -> None:
    import pyarrow

    image = schema.field("image").type
    if not pyarrow.types.is_struct(image) or image.get_field_index("bytes") < 0:
        raise DataError(
            f"expected the column image to hold encoded pictures, as a struct of bytes and path, "
            f"in {path}; it holds {str(image)[:80]}"
        )
    for name in used:
        if pyarrow.types.is_nested(schema.field(name).type):
            raise DataError(f"expected a name or number in each row of {path}, column {name}")


def _check_pages(
    opened: BinaryIO, groups: Sequence[Group], used: set[str], path: Path, size: int
) -> None:
    """Raise DataError if the pages of the used columns unpack to too much."""
    unpacked = 0
    for group in groups:
        check_rows(group.rows, size, path)
        for column in group.columns:
            if column.path not in used or not column.values:
                continue
            check_rows(column.values, size, path)
            values = 0
            for page in pages(opened, column, path):
                unpacked += page.unpacked
                values += page.values
                check_memory(unpacked, size, path)
                check_rows(values, size, path)


def _picture_bytes_stated(groups: Sequence[Group]) -> int:
    columns = [column for group in groups for column in group.columns]
    return sum(column.unpacked for column in columns if column.path.startswith("image"))


def _class_names(metadata: Mapping[bytes, bytes] | None) -> Sequence[str] | None:
    """Return the names of a ClassLabel that ``datasets`` wrote into a parquet file, or None."""
    text = (metadata or {}).get(b"huggingface", b"")
    if len(text) > _MOST_METADATA_BYTES:
        return None
    try:
        features = json.loads(text)["info"]["features"]
        column = next(features[name] for name in LABELS if name in features)
        names = column.get("names") if column.get("_type") == "ClassLabel" else None
    except (LookupError, TypeError, ValueError, AttributeError, StopIteration, RecursionError):
        return None
    return [str(name) for name in names] if isinstance(names, list) else None


def open_pictures(path: str) -> Any:
    """Open a large parquet file by row, mapped instead of loaded.

    ``datasets`` converts it to Arrow once, in its cache (~/.cache/huggingface, or
    HF_DATASETS_CACHE).
    """
    return Pictures(import_datasets().Dataset.from_parquet(path, columns=["image"]))
