"""A report's rows as text cells, for the terminal, Markdown and HTML alike."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Row = dict[str, Any]

Cell = Callable[[Row], str]


def _ms(key: str) -> Cell:
    def cell(row: Row) -> str:
        if row[key] is None:
            return f"{row['missing'][key]:,} short"
        return f"{row[key]:.3f}"

    return cell


def _percent(key: str) -> Cell:
    return lambda row: f"{row[key]:.2%}"


def _faces(row: Row) -> str:
    return f"{row['throughput_hz']:,.0f}"


def _settled(row: Row) -> str:
    if row["steady"] is None:
        return "too few to tell"
    return f"after {row['discarded']:,}" if row["steady"] else "NOT steady"


_PERCENTILES: dict[str, Cell] = {
    "p50 ms": _ms("p50_ms"),
    "p90 ms": _ms("p90_ms"),
    "p95 ms": _ms("p95_ms"),
    "p99 ms": _ms("p99_ms"),
    "p99.9 ms": _ms("p99_9_ms"),
}
_STREAM: dict[str, Cell] = {
    "Hz": lambda row: f"{row['hz']:g}",
    "frames": lambda row: f"{row['frames']:,}",
    "missed": _percent("miss_rate"),
    "dropped": _percent("drop_rate"),
    "jitter ms": lambda row: f"{row['jitter_ms']:.3f}",
    "age p50 ms": _ms("p50_ms"),
    "p99 ms": _ms("p99_ms"),
    "p99.9 ms": _ms("p99_9_ms"),
    "max ms": lambda row: f"{row['age_max_ms']:.3f}",
}
_COLUMNS: dict[str, dict[str, Cell]] = {
    "batch": {
        **{name: _PERCENTILES[name] for name in ("p50 ms", "p90 ms", "p99 ms")},
        "faces/s": _faces,
        "steady": _settled,
    },
    "single": {**_PERCENTILES, "faces/s": _faces, "steady": _settled},
    "stream": _STREAM,
    "multistream": _STREAM,
}


def _against(name: str) -> Cell:
    def cell(row: Row) -> str:
        found = row.get("speedup", {}).get(name)
        return f"{found['ratio']:.2f}x" if found else ""

    return cell


def cells(report: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Headers and one list of cells for each row."""
    rows = report["rows"]
    columns: dict[str, Cell] = {
        "variant": lambda row: str(row["variant"]),
        "batch": lambda row: str(row["batch"]),
        **_COLUMNS[report["scenario"]],
    }
    for name in sorted({name for row in rows for name in row.get("speedup", {})}):
        columns[f"against {name}"] = _against(name)
    return list(columns), [[cell(row) for cell in columns.values()] for row in rows]
