"""Report as Markdown for a pull request, and as one HTML file."""

from __future__ import annotations

from html import escape
from typing import Any

from fer_edge.benchmarks.machine.environment import machine
from fer_edge.benchmarks.reports.columns import cells, loadgen_cells, remarks
from fer_edge.benchmarks.reports.plots import pictures
from fer_edge.page import facts, markdown_table, page, picture, table


def markdown(report: dict[str, Any]) -> str:
    """Return tables, notes and environment as short Markdown.

    The text fits a comment on a pull request.
    """
    env = report["environment"]
    lines = [f"### fer-edge bench: {report['scenario']}", ""]
    lines += [f"{machine(env)}, {env['time']}; `{env['command']}`", ""]
    if report["note"]:
        lines += [f"> **{report['note']}**", ""]
    for headers, rows in _tables(report):
        lines.append(markdown_table(headers, rows))
    lines += [f"- {line}" for line in remarks(report)]
    for item in report.get("budget", []):
        lines.append(f"- {'holds' if item['held'] else '**BROKEN**'}: {item['sentence']}")
    for item in report["refused"]:
        lines.append(f"- not run: {item['variant']}: {item['reason']}")
    return "\n".join([*lines, "", report["method"], ""])


def html(report: dict[str, Any]) -> str:
    """Return one self-contained page. Raises MissingDependencyError without matplotlib."""
    parts = []
    if report["note"]:
        parts.append(f'<p class="note">{escape(report["note"])}</p>')
    parts += [table(headers, rows) for headers, rows in _tables(report)]
    parts += [f"<p>{escape(line)}</p>" for line in remarks(report)]
    for item in report.get("budget", []):
        kind = "held" if item["held"] else "broken"
        parts.append(f'<p class="{kind}">{escape(item["sentence"])}</p>')
    for item in report["refused"]:
        parts.append(f"<p>Not run: {escape(item['variant'])}: {escape(item['reason'])}</p>")
    for title, drawn in pictures(report).items():
        parts += [f"<h2>{title}</h2>", picture(title, drawn)]
    parts.append(f"<h2>Method</h2><p><small>{escape(report['method'])}</small></p>")
    bundle = report["bundle"]
    about = {
        **report["environment"],
        **report["noise"],
        "bundle": bundle["path"],
        "bundle sha256": bundle["sha256"],
    }
    parts += ["<h2>Environment</h2>", facts(about, nothing="n/a")]
    return page(f"fer-edge bench: {report['scenario']}", parts)


def _tables(report: dict[str, Any]) -> list[tuple[list[str], list[list[str]]]]:
    return [cells(report), *([loadgen_cells(report)] if "loadgen" in report else [])]
