"""Report as tables on the terminal."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Column, Table

from fer_edge.benchmarks.machine.environment import machine
from fer_edge.benchmarks.measure.cells import PercentileCell
from fer_edge.benchmarks.measure.rows import row_name
from fer_edge.benchmarks.reports.columns import cells, loadgen_cells, remarks
from fer_edge.benchmarks.scenarios.base import scenario

_FILE_WIDTH = 160
"""Characters per line without a terminal: wide enough that no cell is cut."""


def print_table(report: dict[str, Any]) -> None:
    """Print environment, table, cold starts and the variants that did not run.

    On a terminal that is too narrow, a table becomes several, with the same first columns. No cell
    is cut.
    """
    console = _console()
    if not console.is_terminal:
        console = _console(soft_wrap=True, width=_FILE_WIDTH)
    env = report["environment"]
    console.print(
        f"{machine(env)} ({', '.join(env['isa'])}), {env['time']}\n"
        f"{report['crop_px']} px BGR crops in, predictions out; torch gets ready tensors, no resize"
    )
    if report["note"]:
        console.print(report["note"], style="yellow")
    headers, rows = cells(report)
    _print_rows(console, headers, [[_brief(cell) for cell in row] for row in rows], 2)
    for line in (*_lacking(report), *remarks(report)):
        console.print(line)
    console.print(report["method"], style="dim")
    if "loadgen" in report:
        _print_rows(console, *loadgen_cells(report), 2)
    if "cold_start" in report:
        _print_starts(console, report)
    for item in report.get("budget", []):
        console.print(item["sentence"], style="green" if item["held"] else "red")
    for item in report["refused"]:
        console.print(f"not run: {item['variant']}: {item['reason']}")


def _console(**options: Any) -> Console:
    """Return a console that prints text as it is: an error may hold ``[words]`` in brackets."""
    return Console(highlight=False, markup=False, emoji=False, **options)


def _brief(cell: str) -> str:
    """Return a cell without its reason, which ``_lacking`` prints below the table."""
    return "n/a" if cell.startswith("n/a (") else cell


def _lacking(report: dict[str, Any]) -> list[str]:
    """Return a sentence for each row whose printed percentiles lack samples."""
    lines = []
    columns = scenario(report["scenario"]).columns.values()
    shown = {cell.key for cell in columns if isinstance(cell, PercentileCell)}
    for row in report["rows"]:
        lacks = [
            f"{key.removesuffix('_ms').replace('_', '.')} {count:,}"
            for key, count in row.get("missing", {}).items()
            if count and key in shown
        ]
        if lacks:
            lines.append(
                f"{row_name(row)}, batch {row['batch']}: too few samples, more are needed for "
                f"{', '.join(lacks)}"
            )
    return [*lines, "Give them more time with --budget-s."] if lines else []


def _print_rows(console: Console, headers: list[str], rows: list[list[str]], fixed: int) -> None:
    """Print a table in parts that fit; each part has the fixed columns."""
    widths = [
        max(len(word) for word in (header, *column))
        for header, *column in zip(headers, *rows, strict=True)
    ]
    width = console.width - sum(map(_outer, widths[:fixed])) - 1
    parts: list[list[int]] = [[]]
    for i in range(fixed, len(headers)):
        if parts[-1] and sum(_outer(widths[j]) for j in (*parts[-1], i)) > width:
            parts.append([])
        parts[-1].append(i)
    for part in parts:
        chosen = [*range(fixed), *part]
        table = Table(*(Column(headers[i], no_wrap=True, min_width=widths[i]) for i in chosen))
        for row in rows:
            table.add_row(*(row[i] for i in chosen))
        console.print(table, soft_wrap=False)


def _outer(width: int) -> int:
    """Return a column's width with its padding and one border."""
    return width + 3


def _print_starts(console: Console, report: dict[str, Any]) -> None:
    headers = ["fresh process", "total s", "import s", "load s", "answer s", "MB", "split"]
    first = {row["variant"]: row.get("split_ms") for row in reversed(report["rows"])}
    keys = ("total_s", "import_s", "load_s", "first_answer_s")
    rows = [
        [
            name,
            *(f"{start[key]:.2f}" for key in keys),
            f"{start['rss_bytes'] / 1e6:.0f}",
            "/".join(f"{ms:.2f}" for ms in (first.get(name) or {}).values()),
        ]
        for name, start in report["cold_start"].items()
    ]
    _print_rows(console, headers, rows, 1)
    size = report["rows"][0]["batch"]
    console.print(f"split: preprocess/infer/postprocess ms at batch {size}")
    for row in report["rows"]:
        if "device_ms" in row and row["batch"] == size:
            times = "/".join(f"{ms:.3f}" for ms in row["device_ms"].values())
            console.print(f"{row['variant']} on the GPU: copy in/network/copy out {times} ms")
