"""Table of a report: headers and text cells, for every output."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from fer_edge.benchmarks.measure.cells import Cell, ReportRow
from fer_edge.benchmarks.references.loadgen import VALID_BY
from fer_edge.benchmarks.scenarios.base import scenario
from fer_edge.benchmarks.scenarios.sustained import ends


def cells(report: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Return the headers, and the cells of each row."""
    rows = report["rows"]
    columns: dict[str, Cell] = {
        "variant": lambda row: str(row["variant"]),
        "batch": lambda row: str(row["batch"]),
        **scenario(report["scenario"]).columns,
    }
    if any(row.get("energy_j") is not None for row in rows):
        columns["mJ per face"] = _mj_per_face
    if report["environment"]["gpus"] and any("timeline" in row for row in rows):
        columns["GPU MHz"] = partial(ends, key="clock_mhz", gpu=True)
        columns["GPU C"] = partial(ends, key="temperature_c", gpu=True)
    if any("accuracy" in row for row in rows):
        columns |= {
            "accuracy": partial(_percent, key="accuracy"),
            "agreement": partial(_percent, key="agreement"),
            "front": lambda row: "yes" if row.get("pareto") else "",
        }
    for name in sorted({name for row in rows for name in row.get("speedup", {})}):
        columns[f"against {name}"] = partial(_against, name=name)
    for name in {row["tool"]["name"] for row in rows if "tool" in row}:  # at most one
        columns[f"{name} p50 ms"] = partial(_tool, key="p50_ms", form=".3f")
        columns[f"{name} faces/s"] = partial(_tool, key="throughput_hz", form=",.0f")
        columns["p50, ours / tool's"] = _over_tool
    return list(columns), [[cell(row) for cell in columns.values()] for row in rows]


DIFFERENCE = 0.05
"""Least relative difference of a median in turns and alone that is printed."""


def remarks(report: Mapping[str, Any]) -> list[str]:
    """Return sentences below the table, such as what ran where and what ``VALID`` means."""
    lines = []
    for row in report["rows"]:
        turns, alone = row.get("p50_ms"), row.get("alone_p50_ms")
        if turns and alone and abs(turns / alone - 1) > DIFFERENCE:
            lines.append(
                f"{row['variant']}, batch {row['batch']}: p50 {turns:.3f} ms in turns with the "
                f"others, {alone:.3f} ms alone"
            )
    for item in report.get("executed", []):
        if item["sentence"] is not None:
            lines.append(f"{item['variant']} ran as: {item['sentence']}")
        if "simulator" in item:
            lines.append(
                f"{item['variant']} ran on the {item['simulator']}: its times are not those "
                "of a chip"
            )
    return [*lines, VALID_BY] if "loadgen" in report else lines


def loadgen_cells(report: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Return the table of LoadGen's figures beside ours."""
    ours = {(row["variant"], row["batch"]): row for row in report["rows"]}
    key = "p90_ms" if report["scenario"] == "single" else "throughput_hz"
    rows = []
    for row in report["loadgen"]:
        # Prefer the samples that were taken right before and after LoadGen's run.
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
    return ["variant", "LoadGen", "result", f"LoadGen {unit}", f"our {unit}", "logs"], rows


def _mj_per_face(row: ReportRow) -> str:
    return "" if row.get("energy_j") is None else f"{1e3 * row['energy_j'] / row['faces']:.2f}"


def _percent(row: ReportRow, key: str) -> str:
    return f"{row[key]:.2%}" if key in row else ""


def _against(row: ReportRow, name: str) -> str:
    ratio = row.get("speedup", {}).get(name)
    return f"{ratio['ratio']:.2f}x" if ratio else ""


def _tool(row: ReportRow, key: str, form: str) -> str:
    return format(row["tool"][key], form) if "tool" in row else ""


def _over_tool(row: ReportRow) -> str:
    if "tool" not in row or row["p50_ms"] is None:
        return ""
    return f"{row['p50_ms'] / row['tool']['p50_ms']:.2f}x"
