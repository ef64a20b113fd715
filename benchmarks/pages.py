"""A report as Markdown for a pull request, and as one HTML file with its pictures in it."""

from __future__ import annotations

import base64
from html import escape
from typing import Any

from fer_edge.benchmarks.plots import pictures
from fer_edge.benchmarks.table import cells, loadgen_cells

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60em; margin: 2em auto; padding: 0 1em; }
table { border-collapse: collapse; margin: 1em 0; }
th, td { border: 1px solid #ccc; padding: .3em .6em; text-align: right; }
th:first-child, td:first-child { text-align: left; }
.note { background: #fff3cd; padding: .6em 1em; }
.broken { color: #b00020; } .held { color: #1b6e20; }
small { color: #555; } img { max-width: 100%; }
"""


def markdown(report: dict[str, Any]) -> str:
    """Tables, notes and environment; short enough for a comment on a pull request."""
    env = report["environment"]
    lines = [f"### fer-edge bench: {report['scenario']}", ""]
    lines += [f"{env['cpu']}, {env['cores']} cores, {env['time']}; `{env['command']}`", ""]
    if report["note"]:
        lines += [f"> **{report['note']}**", ""]
    for headers, rows in _tables(report):
        lines += [_line(headers), _line(["---"] * len(headers)), *map(_line, rows), ""]
    for item in report.get("budget", []):
        lines.append(f"- {'holds' if item['held'] else '**BROKEN**'}: {item['sentence']}")
    for item in report["refused"]:
        lines.append(f"- not here: {item['variant']}: {item['reason']}")
    return "\n".join([*lines, "", report["method"], ""])


def html(report: dict[str, Any]) -> str:
    """One file that needs nothing else, offline as well. Raises MissingDependencyError."""
    parts = [f"<h1>fer-edge bench: {escape(report['scenario'])}</h1>"]
    if report["note"]:
        parts.append(f'<p class="note">{escape(report["note"])}</p>')
    parts += [_table(headers, rows) for headers, rows in _tables(report)]
    for item in report.get("budget", []):
        kind = "held" if item["held"] else "broken"
        parts.append(f'<p class="{kind}">{escape(item["sentence"])}</p>')
    for item in report["refused"]:
        parts.append(f"<p>Not here: {escape(item['variant'])}: {escape(item['reason'])}</p>")
    for title, picture in pictures(report).items():
        data = base64.b64encode(picture).decode()
        parts.append(f"<h2>{title}</h2>")
        parts.append(f'<img alt="{title}" src="data:image/svg+xml;base64,{data}">')
    parts.append(f"<h2>Method</h2><p><small>{escape(report['method'])}</small></p>")
    about = {**report["environment"], **report["noise"], "bundle": report["bundle"]["path"],
             "bundle sha256": report["bundle"]["sha256"]}  # fmt: skip
    rows = [[key, _plain(value)] for key, value in about.items()]
    parts += ["<h2>Environment</h2>", _table(["", ""], rows)]
    body = "\n".join(parts)
    return (
        '<!doctype html>\n<html lang="en">\n<head><meta charset="utf-8">'
        f"<title>fer-edge bench</title><style>{_STYLE}</style></head>\n"
        f"<body>\n{body}\n</body>\n</html>\n"
    )


def _tables(report: dict[str, Any]) -> list[tuple[list[str], list[list[str]]]]:
    return [cells(report), *([loadgen_cells(report)] if "loadgen" in report else [])]


def _line(row: list[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |"


def _table(headers: list[str], rows: list[list[str]]) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in headers)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>\n" for row in rows
    )
    return f"<table><tr>{head}</tr>\n{body}</table>"


def _plain(value: Any) -> str:
    if value is None:
        return "not told here"
    if isinstance(value, dict):
        return ", ".join(f"{key} {item}" for key, item in value.items())
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return f"{value:,.4g}" if isinstance(value, float) else str(value)
