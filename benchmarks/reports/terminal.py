"""Report as tables on the terminal."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Column, Table

from fer_edge.benchmarks.machine.environment import machine
from fer_edge.benchmarks.reports.columns import cells, loadgen_cells, remarks

_FILE_WIDTH = 160
"""Characters per line without a terminal: wide enough that no cell is cut."""


def print_table(report: dict[str, Any]) -> None:
    """Print environment, table, cold starts and the variants that did not run."""
    console = Console(highlight=False, soft_wrap=True)
    if not console.is_terminal:
        console = Console(highlight=False, soft_wrap=True, width=_FILE_WIDTH)
    env = report["environment"]
    console.print(
        f"{machine(env)} ({', '.join(env['isa'])}), {env['time']}\n"
        f"{report['crop_px']} px BGR crops in, predictions out; torch gets ready tensors, no resize"
    )
    if report["note"]:
        console.print(report["note"], style="yellow")
    headers, rows = cells(report)
    console.print(_table(headers, rows))
    for line in remarks(report):
        console.print(line)
    console.print(report["method"], style="dim")
    if "loadgen" in report:
        console.print(_table(*loadgen_cells(report)))
    if "cold_start" in report:
        _print_starts(console, report)
    for item in report.get("budget", []):
        console.print(item["sentence"], style="green" if item["held"] else "red")
    for item in report["refused"]:
        console.print(f"not run: {item['variant']}: {item['reason']}")


def _table(headers: list[str], rows: list[list[str]]) -> Table:
    first = Column(headers[0], no_wrap=True, min_width=18)
    table = Table(first, *(Column(name, overflow="fold") for name in headers[1:]))
    for row in rows:
        table.add_row(*row)
    return table


def _print_starts(console: Console, report: dict[str, Any]) -> None:
    starts = Table(
        Column("fresh process", no_wrap=True, min_width=18),
        "total s",
        "import s",
        "load s",
        "answer s",
        "MB",
        "split",
    )
    first = {row["variant"]: row.get("split_ms") for row in reversed(report["rows"])}
    for name, start in report["cold_start"].items():
        keys = ("total_s", "import_s", "load_s", "first_answer_s")
        split = first.get(name) or {}
        starts.add_row(
            name,
            *(f"{start[k]:.2f}" for k in keys),
            f"{start['rss_bytes'] / 1e6:.0f}",
            "/".join(f"{ms:.2f}" for ms in split.values()),
        )
    console.print(starts)
    size = report["rows"][0]["batch"]
    console.print(f"split: preprocess/infer/postprocess ms at batch {size}")
    for row in report["rows"]:
        if "device_ms" in row and row["batch"] == size:
            times = "/".join(f"{ms:.3f}" for ms in row["device_ms"].values())
            console.print(f"{row['variant']} on the GPU: copy in/network/copy out {times} ms")
