"""A bench report as tables for people."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Column, Table


def print_table(report: dict[str, Any]) -> None:
    """Print environment, the latency table, cold starts and what could not run."""
    console = Console(highlight=False, soft_wrap=True)
    env = report["environment"]
    console.print(
        f"{env['cpu']}, {env['cores']} cores ({', '.join(env['isa'])}), {env['time']}\n"
        f"{report['crop_px']} px BGR crops in, answers out; torch gets ready tensors, no resize"
    )
    if report["note"]:
        console.print(report["note"], style="yellow")
    table = Table(
        Column("variant", no_wrap=True, min_width=18),
        "batch",
        "p50 ms",
        "p90 ms",
        "p99 ms",
        "faces/s",
    )
    baselines = sorted({name for row in report["rows"] for name in row.get("speedup", {})})
    for name in baselines:
        table.add_column(f"against\n{name}")
    for row in report["rows"]:
        cells = [
            row["variant"],
            str(row["batch"]),
            *(_ms(row[key]) for key in ("p50_ms", "p90_ms", "p99_ms")),
            f"{row['throughput_hz']:,.0f}",
        ]
        for name in baselines:
            ratio = row.get("speedup", {}).get(name)
            cells.append(f"{ratio['ratio']:.2f}x" if ratio else "")
        table.add_row(*cells)
    console.print(table)
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
    console.print(f"split: preprocess/infer/postprocess ms at batch {report['rows'][0]['batch']}")
    for item in report["refused"]:
        console.print(f"not here: {item['variant']}: {item['reason']}")


def _ms(value: float | None) -> str:
    return "too few" if value is None else f"{value:.3f}"
