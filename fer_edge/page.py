"""HTML report in one file, for light and dark screens; Markdown tables.

A page fetches nothing: styles and pictures are inside.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape
from typing import Any

_STYLE = """
:root { color-scheme: light dark; --line: #ccc; --soft: #555; --shade: #f4f4f4;
        --note: #fff3cd; --broken: #b00020; --held: #1b6e20; }
@media (prefers-color-scheme: dark) {
  :root { --line: #444; --soft: #aaa; --shade: #222; --note: #4a3c00; --broken: #ff7b8a;
          --held: #7bd88f; }
}
body { font: 15px/1.5 system-ui, sans-serif; max-width: 72em; margin: 2em auto; padding: 0 1em; }
h1, h2, h3 { line-height: 1.2; }
h2 { margin-top: 2em; border-bottom: 1px solid var(--line); padding-bottom: .2em; }
.wide { overflow-x: auto; }
.wide:focus-visible { outline: 2px solid var(--held); outline-offset: 2px; }
table { border-collapse: collapse; margin: 1em 0; font-variant-numeric: tabular-nums; }
th, td { border: 1px solid var(--line); padding: .3em .6em; text-align: right; white-space: pre; }
th { background: var(--shade); }
th:first-child, td:first-child { text-align: left; }
.facts td { text-align: left; overflow-wrap: anywhere; vertical-align: top; white-space: normal; }
.facts td:first-child { overflow-wrap: normal; }
.note { background: var(--note); padding: .6em 1em; }
.broken { color: var(--broken); } .held { color: var(--held); }
small, figcaption { color: var(--soft); }
.pictures { display: grid; gap: 1em;
  grid-template-columns: repeat(auto-fit, minmax(min(26em, 100%), 1fr)); }
figure { margin: 0; }
/* The pictures are drawn on white: in the dark they keep it, like photographs. */
img { max-width: 100%; background: #fff; border-radius: 6px; }
"""


_WIDE = '<div class="wide" tabindex="0" role="group" aria-label="Table">'
"""Frame of a table that may be wider than the page. The keyboard can scroll it."""


def page(title: str, parts: Sequence[str]) -> str:
    """Return the complete HTML file.

    Args:
        title: Plain text.
        parts: HTML, as the other functions of this module return it.
    """
    body = "\n".join(parts)
    return (
        '<!doctype html>\n<html lang="en">\n<head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>\n"
        f"<body>\n<main>\n<h1>{escape(title)}</h1>\n{body}\n</main>\n</body>\n</html>\n"
    )


def table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table of numbers under headers.

    Args:
        headers: Plain text of the head.
        rows: Plain text of the cells. The first column is aligned to the left, the others to the
            right. Only line feeds in a cell break its line.
    """
    head = "".join(f"<th>{escape(name)}</th>" for name in headers)
    return f"{_WIDE}<table><tr>{head}</tr>\n{_rows(rows)}</table></div>"


def facts(values: dict[str, Any], nothing: str = "none") -> str:
    """Return a table of names and values.

    Args:
        values: Numbers, texts, lists or dicts by name.
        nothing: Text for None.
    """
    rows = [[key, nothing if value is None else _plain(value)] for key, value in values.items()]
    return f'{_WIDE}<table class="facts">\n{_rows(rows)}</table></div>'


def picture(title: str, svg: bytes, caption: str = "") -> str:
    """Return an SVG picture with its caption.

    The picture is a data URI: identifiers of two pictures cannot clash, and nothing is fetched.

    Args:
        title: Plain text for screen readers.
        svg: Content of the SVG file.
        caption: Plain text below the picture.
    """
    data = base64.b64encode(svg).decode()
    words = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    source = f"data:image/svg+xml;base64,{data}"
    return f'<figure><img alt="{escape(title)}" src="{source}">{words}</figure>'


def pictures(figures: Sequence[str]) -> str:
    """Return pictures side by side, as many in a row as fit."""
    return '<div class="pictures">' + "\n".join(figures) + "</div>"


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table; bars in cells are escaped."""
    return "".join(
        "| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n"
        for line in (head, ["---"] * len(head), *rows)
    )


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_plain(item)}" for key, item in value.items()) or "none"
    if isinstance(value, list | tuple):
        return ", ".join(map(_plain, value)) or "none"
    return f"{value:,.4g}" if isinstance(value, float) else str(value)


def _rows(rows: Sequence[Sequence[str]]) -> str:
    return "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>\n" for row in rows
    )
