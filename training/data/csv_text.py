"""CSV files as spreadsheets and scripts write them: encodings, separators and bounds."""

from __future__ import annotations

import codecs
import csv
import re
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import TextIO

from fer_edge.errors import DataError, next_step
from fer_edge.shown import shown
from fer_edge.training.data.bounds import check_listed

MAX_COLUMNS = 256
"""Largest number of columns of a CSV file."""
_MOST_LINES = 20
"""Largest number of lines of a row. A quote without its end would take the rows below."""
_END = ""
"""Line behind the last one. No file has it, so that it shows a quote that is still open there."""
_HEAD_BYTES = 4096
_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark is its beginning
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_SEPARATORS = ",;\t|"
_EXCEL_SEPARATOR = re.compile(r'"?sep=.?"?\s*', re.IGNORECASE)
"""First line in which Excel notes its separator."""


def header(path: Path) -> list[str]:
    """Return a CSV file's columns in lower case, without spaces around them.

    Raises:
        DataError: The file cannot be read, or has more than MAX_COLUMNS columns.
    """
    return next((_names(cells, path) for _, cells in cells_of(path)), [])


def records(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield line number and cells of each row after the header.

    The cells are keyed by lower-case column.

    Lines are those of the file, as editors count them. A missing cell is "".

    Raises:
        DataError: The file cannot be read, or names a column twice.
    """
    names: list[str] = []
    for number, (line, cells) in enumerate(cells_of(path)):
        if number == 0:
            names = _names(cells, path)
            if doubled := sorted({name for name in names if name and names.count(name) > 1}):
                raise DataError(
                    f"{path} has the column {shown(doubled[0])} twice. Remove one of them"
                )
        else:
            yield line, dict.fromkeys(names, "") | dict(zip(names, cells, strict=False))


def cells_of(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield the cells of each row that is not empty, and the line in which it begins.

    Reads UTF-8 and UTF-16, with and without a byte order mark, separated by comma, semicolon, tab
    or bar. Bytes that are not UTF-8 become surrogates, as in file names of Python.

    Raises:
        DataError: The file cannot be read, a quoted cell does not end, or there are more than
            MAX_ROWS lines.
    """
    try:
        with open_text(path) as file:
            first, skipped = file.readline(), 0
            if _EXCEL_SEPARATOR.fullmatch(first):
                first = file.readline()
                skipped = 1
            rows = _rows(_chained(first, file), first, skipped, path)
            for number, (line, row) in enumerate(rows, start=1):
                check_listed(number, path)
                yield line, row
    except OSError as error:
        advice = next_step(error, "Check the file and its permissions")
        raise DataError(f"cannot read {path}: {error}. {advice}") from error


def _rows(
    lines: Iterator[str], first: str, skipped: int, path: Path
) -> Iterator[tuple[int, list[str]]]:
    """Yield the rows that are not empty, and their lines.

    Raises DataError for a quote that swallows rows, and for a cell that is too long.
    """
    separator = _separator(first[:_HEAD_BYTES])
    taken: list[str] = []
    rows = csv.reader(_taken(lines, taken), delimiter=separator, skipinitialspace=True)
    while True:
        line = skipped + rows.line_num + 1
        taken.clear()
        try:
            row = next(rows, None)
            _check_quotes(taken, separator)
        except csv.Error as error:
            if "field limit" in str(error) and len(taken) == 1:
                raise DataError(
                    f"{path}, line {line}: expected 48x48 pixels or shorter, got a cell of more "
                    f"than {csv.field_size_limit():,} characters. Store larger pictures as files, "
                    "and list them with the columns path and label"
                ) from error
            raise DataError(
                f"cannot read {path} from line {line} on: {error}. If the line has "
                'a stray ", remove it, or write "" inside a quoted cell'
            ) from error
        if row is None:
            return
        if row:
            yield line, row


def _taken(lines: Iterator[str], taken: list[str]) -> Iterator[str]:
    """Yield the lines and _END, and note those of the row that is being read."""
    for line in chain(lines, [_END]):
        if len(taken) == _MOST_LINES:
            raise csv.Error(f"a row of more than {_MOST_LINES} lines")
        taken.append(line)
        yield line


def _check_quotes(row: list[str], separator: str) -> None:
    """Raise csv.Error if a stray quote joined the lines of a row. In one line, it takes no face."""
    if len(row) < 2:
        return
    if row[-1] == _END:
        raise csv.Error("a quoted cell does not end")
    for _ in csv.reader(row, delimiter=separator, skipinitialspace=True, strict=True):
        pass


def whole_number(cell: str) -> int:
    """Return a cell as a whole number; spreadsheets and pandas write 3 as 3.0 too.

    Raises ValueError for anything else.
    """
    text = cell.strip()
    if not re.fullmatch(r"[-+]?[0-9]{1,18}(\.0*)?", text):
        raise ValueError(f"expected a whole number, got {shown(cell)}. Correct it")
    return int(text.partition(".")[0])


def found(names: Iterable[str]) -> str:
    """Return columns for a message, with odd characters visible."""
    named = [shown(name) for name in list(names)[:20] if name]
    return ", ".join(named) or "no column"


def open_text(path: Path) -> TextIO:
    """Open a list in UTF-8 or UTF-16, with or without a byte order mark, which is not read.

    Raises DataError if there is no such file.
    """
    if not path.is_file():  # opening a FIFO would wait forever
        raise DataError(f"expected a CSV file at {path}, found none")
    with path.open("rb") as file:
        encoding = _encoding(file.read(_HEAD_BYTES))
    errors = "surrogateescape" if encoding.startswith("utf-8") else "replace"
    return path.open(newline="", encoding=encoding, errors=errors)


def _encoding(head: bytes) -> str:
    for mark, encoding in _BOMS:
        if head.startswith(mark):
            return encoding
    # Text of mostly ASCII in UTF-16 without a mark has a zero in every other byte.
    if head[1::2].count(0) > len(head) // 4:
        return "utf-16-le"
    if head[::2].count(0) > len(head) // 4:
        return "utf-16-be"
    return "utf-8"


def _separator(line: str) -> str:
    """Return the separator that gives a line the most cells; a comma if several do."""

    def cells(separator: str) -> int:
        return len(next(csv.reader([line], delimiter=separator), []))

    return max(_SEPARATORS, key=cells)


def _chained(first: str, rest: TextIO) -> Iterator[str]:
    """Yield the lines, without the byte order marks that joined files have in the middle."""
    if first:
        yield first
        for line in rest:
            yield line.replace("\ufeff", "")


def _names(cells: list[str], path: Path) -> list[str]:
    if len(cells) > MAX_COLUMNS:
        raise DataError(
            f"expected at most {MAX_COLUMNS} columns in {path}, got {len(cells):,}. Name a CSV "
            "file with a row for each picture"
        )
    return [cell.strip().lower() for cell in cells]
