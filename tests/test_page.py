"""The frame of every HTML report: one file, escaped, no host asked."""

from __future__ import annotations

import base64
import re

from hypothesis import given
from hypothesis import strategies as st

from fer_edge.page import facts, markdown_table, page, picture, pictures, table

NASTY = '<img src=x onerror="alert(1)">&'


def test_a_page_is_whole_and_its_title_escaped() -> None:
    text = page(NASTY, ["<p>part</p>"])
    assert text.startswith("<!doctype html>")
    assert "<p>part</p>" in text
    assert 'onerror="' not in text
    assert "prefers-color-scheme: dark" in text


@given(st.text())
def test_no_cell_escapes_its_cell(cell: str) -> None:
    inside = table(["a", cell], [[cell, "1"]]) + facts({cell: [cell, None]})
    inside = inside.replace(' tabindex="0" role="group" aria-label="Table"', "")
    assert "<" not in re.sub(r"</?(div|table|tr|th|td)( class=\"\w+\")?>", "", inside)


def test_facts_are_words() -> None:
    text = facts({"lr": 0.0012345, "clip": None, "labels": ("a", "b"), "libs": {"torch": "2.1"}})
    for word in ("0.001234", "none", "a, b", "torch 2.1"):
        assert f"<td>{word}</td>" in text
    assert "not told here" in facts({"clock": None}, nothing="not told here")


def test_a_picture_is_inside() -> None:
    text = pictures([picture("Curve", b"<svg></svg>", "what it shows")])
    (source,) = re.findall(r'src="data:image/svg\+xml;base64,([^"]*)"', text)
    assert base64.b64decode(source) == b"<svg></svg>"
    assert "what it shows" in text


def test_a_bar_in_a_cell_does_not_end_it() -> None:
    text = markdown_table(["a", "b"], [["1|2", "3"]])
    assert text == "| a | b |\n| --- | --- |\n| 1\\|2 | 3 |\n"


def test_a_page_has_a_main_landmark_and_tables_that_the_keyboard_scrolls() -> None:
    text = page("Report", ["<p>part</p>", table(["a"], [["1"]]), facts({"b": 2})])
    main = text.partition("<main>")[2].partition("</main>")[0]
    assert "<h1>Report</h1>" in main
    assert "<p>part</p>" in main
    frames = re.findall(r'<div class="wide"[^>]*>', main)
    assert len(frames) == main.count("<table") == 2
    for frame in frames:
        assert 'tabindex="0"' in frame
        assert re.search(r'role="group" aria-label="\w+"', frame)
