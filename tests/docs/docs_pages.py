"""README and documentation pages, and the fenced code in them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    [*ROOT.glob("*.md"), *(p for p in (ROOT / "docs").rglob("*.md") if "runs" not in p.parts)]
)
"""Markdown files of the root and of docs/, without the reports that a command wrote."""

_FENCE = re.compile(r"^( *)```(\w*)[^\n]*\n(.*?)^\1```", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Fence:
    """Fenced code.

    Attributes:
        page: Path below the root, with the line number, for messages.
        language: Word behind the fence; may be empty.
        text: Code.
    """

    page: str
    language: str
    text: str


def fences() -> Iterator[Fence]:
    """Yield all fenced code of all pages."""
    for page in PAGES:
        content = page.read_text("utf-8")
        for match in _FENCE.finditer(content):
            line = content[: match.start()].count("\n") + 1
            indent, language, text = match.groups()
            text = "\n".join(row.removeprefix(indent) for row in text.splitlines())
            yield Fence(f"{page.relative_to(ROOT)}:{line}", language, text)
