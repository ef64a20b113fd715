"""Every recipe key that README and docs name exists in the dataclasses."""

from __future__ import annotations

import re

import pytest
from docs_pages import PAGES, ROOT

from fer_edge.training.config.reference import describe

KEYS = {f"{key.section}.{key.name}".removeprefix(".") for key in describe()}
SECTIONS = {key.split(".")[0] for key in KEYS if "." in key}
_MENTIONED = re.compile(
    rf"(?:--set |`)((?:{'|'.join(sorted(SECTIONS))})(?:\.[a-z_]+)+)(?=[=`: ])", re.MULTILINE
)
_OTHER = {"data.hold_out"}
"""Names in code spans that are Python, not keys."""


def mentioned() -> list[tuple[str, str]]:
    """Return page and key of every mention."""
    return [
        (str(page.relative_to(ROOT)), key)
        for page in PAGES
        if page.name != "bundle-format.md"  # its keys are those of bundle.json
        for key in _MENTIONED.findall(page.read_text("utf-8"))
        if not key.endswith((".md", ".py", ".mlmodel", ".safetensors"))
    ]


def test_keys_are_found() -> None:
    assert len(mentioned()) >= 20
    assert "fit.lr" in KEYS


@pytest.mark.parametrize(("page", "key"), sorted(set(mentioned())))
def test_key_exists(page: str, key: str) -> None:
    assert key in KEYS or key in _OTHER, f"{page} names {key}, which no recipe has"
