"""Text cells of figures, for the tables of a report."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

ReportRow = Mapping[str, Any]
Cell = Callable[[ReportRow], str]


@dataclass(frozen=True)
class PercentileCell:
    """Cell of a percentile: ms, or its missing samples.

    Attributes:
        key: Field of the row.
        digits: Digits after the point.
    """

    key: str
    digits: int = 3

    def __call__(self, row: ReportRow) -> str:
        """Return the text of a row."""
        if row[self.key] is None:
            return f"n/a ({row['missing'][self.key]:,} more samples)"
        return f"{row[self.key]:.{self.digits}f}"


def number(key: str, form: str) -> Cell:
    """Return a number's cell in the given format, such as ``,.0f``; ``n/a`` for None."""
    return lambda row: "n/a" if row[key] is None else format(row[key], form)


def megabytes(key: str) -> Cell:
    """Return the cell of a number of bytes in MB."""
    return lambda row: f"{row[key] / 1e6:.1f}"


def ratio(value: Mapping[str, float] | None) -> str:
    """Return a ratio with its interval; ``n/a`` for None."""
    if value is None:
        return "n/a"
    return f"{value['ratio']:.3f}x ({value['low']:.3f} to {value['high']:.3f})"


def percent(share: float | None) -> str:
    """Return a share (0..1) in whole percent; empty for None."""
    return "" if share is None else f"{share:.0%}"


FACES_PER_S = number("throughput_hz", ",.0f")
P50, P90, P95, P99, P99_9 = (
    PercentileCell(key) for key in ("p50_ms", "p90_ms", "p95_ms", "p99_ms", "p99_9_ms")
)
