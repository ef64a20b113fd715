"""A report's rows as text cells, for the terminal, Markdown and HTML alike."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

ReportRow = dict[str, Any]

Cell = Callable[[ReportRow], str]


def _ms(key: str) -> Cell:
    def cell(row: ReportRow) -> str:
        if row[key] is None:
            return f"{row['missing'][key]:,} short"
        return f"{row[key]:.3f}"

    return cell


def _percent(key: str) -> Cell:
    return lambda row: f"{row[key]:.2%}"


def _faces(row: ReportRow) -> str:
    return f"{row['throughput_hz']:,.0f}"


def _settled(row: ReportRow) -> str:
    if row["steady"] is None:
        return "too few to tell"
    return f"after {row['discarded']:,}" if row["steady"] else "NOT steady"


def _seconds(key: str, row: ReportRow) -> str:
    return f"{row[key]:.3f}"


def _ratio(found: dict[str, float]) -> str:
    return f"{found['ratio']:.3f}x ({found['low']:.3f} to {found['high']:.3f})"


def _slower(row: ReportRow, percentile: str) -> str:
    found = row["slower_by"].get(percentile)
    return _ratio(found) if found and row["state"] == "contended" else ""


def _ends(row: ReportRow, key: str, *, gpu: bool = False) -> str:
    """gpu: of the first one."""
    points = [row["timeline"][i] for i in (0, -1)]
    first, last = (point["gpus"][0][key] if gpu else point[key] for point in points)
    return "not told" if first is None or last is None else f"{first:.0f} to {last:.0f}"


def _growth(value: float | None) -> str:
    return "too few calls" if value is None else f"{value / 1e6:+.2f}"


def _mj_a_face(row: ReportRow) -> str:
    return "" if row.get("energy_j") is None else f"{1e3 * row['energy_j'] / row['faces']:.2f}"


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
    "offline": {
        "faces": lambda row: f"{row['faces']:,}",
        "in flight": lambda row: str(row["in_flight"]),
        "faces/s": _faces,
        "p50 ms": _ms("p50_ms"),
        "p99 ms": _ms("p99_ms"),
    },
    "sustained": {
        "minutes": lambda row: f"{row['duration_s'] / 60:.1f}",
        "first p50 ms": lambda row: f"{row['first_p50_ms']:.3f}",
        "last p50 ms": lambda row: f"{row['last_p50_ms']:.3f}",
        "last/first": lambda row: _ratio(row["last_over_first"]),
        "p99 ms": _ms("p99_ms"),
        "MHz": lambda row: _ends(row, "clock_mhz"),
        "C": lambda row: _ends(row, "temperature_c"),
    },
    "contended": {
        "": lambda row: str(row["state"]),
        "p50 ms": _ms("p50_ms"),
        "p90 ms": _ms("p90_ms"),
        "p99 ms": _ms("p99_ms"),
        "p50 slower by": lambda row: _slower(row, "p50"),
        "p99 slower by": lambda row: _slower(row, "p99"),
    },
    "memory": {
        "calls": lambda row: f"{row['calls']:,}",
        "resident MB": lambda row: f"{row['rss_bytes'] / 1e6:.1f}",
        "peak MB": lambda row: f"{row['peak_rss_bytes'] / 1e6:.1f}",
        "MB per 100,000 calls": lambda row: _growth(row["growth_bytes_per_100k_calls"]),
    },
    "coldstart": {
        "starts": lambda row: str(row["starts"]),
        **{
            name: partial(_seconds, key)
            for name, key in (
                ("total s", "total_s"),
                ("import s", "import_s"),
                ("load s", "load_s"),
                ("answer s", "first_answer_s"),
                ("longest s", "longest_s"),
            )
        },
        "resident MB": lambda row: f"{row['rss_bytes'] / 1e6:.1f}",
    },
}


def _against(name: str) -> Cell:
    def cell(row: ReportRow) -> str:
        found = row.get("speedup", {}).get(name)
        return f"{found['ratio']:.2f}x" if found else ""

    return cell


def _tool(key: str, form: str) -> Cell:
    return lambda row: form.format(row["tool"][key]) if "tool" in row else ""


def _over_tool(row: ReportRow) -> str:
    if "tool" not in row or row["p50_ms"] is None:
        return ""
    return f"{row['p50_ms'] / row['tool']['p50_ms']:.2f}x"


def loadgen_cells(report: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """LoadGen's figures with ours beside them."""
    ours = {(row["variant"], row["batch"]): row for row in report["rows"]}
    key = "p90_ms" if report["scenario"] == "single" else "throughput_hz"
    rows = []
    for row in report["loadgen"]:
        # Measured right before and after LoadGen's run, where it was.
        own = row.get("our_p90_ms", ours.get((row["variant"], row["batch"]), {}).get(key))
        rows.append(
            [
                row["variant"],
                row["scenario"],
                "VALID" if row["valid"] else "INVALID",
                "" if row[key] is None else f"{row[key]:,.3f}",
                "" if own is None else f"{own:,.3f}",
                row["logs"],
            ]
        )
    unit = "p90 ms" if key == "p90_ms" else "faces/s"
    return ["variant", "LoadGen", "result", f"its {unit}", f"our {unit}", "logs"], rows


def cells(report: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Headers and one list of cells for each row."""
    rows = report["rows"]
    columns: dict[str, Cell] = {
        "variant": lambda row: str(row["variant"]),
        "batch": lambda row: str(row["batch"]),
        **_COLUMNS[report["scenario"]],
    }
    if any(row.get("energy_j") is not None for row in rows):
        columns["mJ a face"] = _mj_a_face
    if report["scenario"] == "sustained" and report["environment"]["gpus"]:
        columns["GPU MHz"] = partial(_ends, key="clock_mhz", gpu=True)
        columns["GPU C"] = partial(_ends, key="temperature_c", gpu=True)
    if any("accuracy" in row for row in rows):
        columns |= {
            "accuracy": lambda row: f"{row['accuracy']:.2%}" if "accuracy" in row else "",
            "agreement": lambda row: f"{row['agreement']:.2%}" if "agreement" in row else "",
            "front": lambda row: "yes" if row.get("pareto") else "",
        }
    for name in sorted({name for row in rows for name in row.get("speedup", {})}):
        columns[f"against {name}"] = _against(name)
    for name in {row["tool"]["name"] for row in rows if "tool" in row}:  # at most one
        columns[f"{name} p50 ms"] = _tool("p50_ms", "{:.3f}")
        columns[f"{name} faces/s"] = _tool("throughput_hz", "{:,.0f}")
        columns["p50, ours / its"] = _over_tool
    return list(columns), [[cell(row) for cell in columns.values()] for row in rows]
