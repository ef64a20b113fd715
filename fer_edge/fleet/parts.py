"""Part files of the output, one per clip and table. Each is written completely or not at all."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from fer_edge.atomic import is_temporary, replacing
from fer_edge.fleet.clips import Clip
from fer_edge.fleet.rows import Row

TABLES = (
    *("states", "events", "alerts"),
    *("states_against", "events_against", "alerts_against", "disagreements"),
)
"""Tables of part files. The second line is written for a second bundle."""
_ROWS = 4096
"""Rows that are held in memory until they are written: 2 minutes of one person at 30 Hz."""


def part_path(out: Path, table: str, clip: Clip) -> Path:
    """Return the part file of a clip."""
    return out / table / clip.folder / f"{clip.key}.parquet"


def remove_leftovers(out: Path) -> None:
    """Remove temporary files of killed workers. No worker may be at work in the folder."""
    for table in TABLES:
        for path in (out / table).glob("*/.*"):
            if is_temporary(path.name):
                path.unlink(missing_ok=True)


class OutputFailedError(OSError):
    """The output cannot be written, which is the fault of no clip."""


@contextmanager
def _output() -> Iterator[None]:
    try:
        yield
    except OutputFailedError:
        raise
    except OSError as error:
        raise OutputFailedError(str(error)) from error


class Part(AbstractContextManager["Part"]):
    """Part file under construction. It appears as the block ends, and never if it raises.

    A part without rows does not appear; an older one is removed. Its methods raise
    OutputFailedError if the file cannot be written.

    Args:
        path: The part file.
        schema: Schema of its table.
    """

    def __init__(self, path: Path, schema: Any) -> None:
        self._path = path
        self._schema = schema
        self._rows: list[Row] = []
        self._stack = ExitStack()
        self._writer: Any = None

    def add(self, row: Row) -> None:
        """Add one row."""
        self._rows.append(row)
        if len(self._rows) >= _ROWS:
            with _output():
                self._flush()

    def _flush(self) -> None:
        if not self._rows:
            return
        if self._writer is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            # A look at all names for each clip would cost more than the clip in a large folder.
            temporary = self._stack.enter_context(replacing(self._path, sweep=False))
            # Arrow takes no names that are not UTF-8.
            file = self._stack.enter_context(temporary.open("wb"))
            self._writer = pq.ParquetWriter(file, self._schema, compression="zstd")
            self._stack.callback(self._writer.close)
        self._writer.write_table(pa.Table.from_pylist(self._rows, self._schema))
        self._rows.clear()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is not None:
            self._stack.__exit__(kind, error, trace)
            return
        with _output():
            with self._stack:
                self._flush()
            if self._writer is None:
                self._path.unlink(missing_ok=True)


def write_table(path: Path, schema: Any, rows: list[Row]) -> None:
    """Write a table in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary, temporary.open("wb") as file:
        pq.write_table(pa.Table.from_pylist(rows, schema), file, compression="zstd")


def part_writer(out: Path, clip: Clip) -> Callable[[str, Any], Part]:
    """Return a function that makes the part of a table for one clip."""
    return lambda table, schema: Part(part_path(out, table, clip), schema)
