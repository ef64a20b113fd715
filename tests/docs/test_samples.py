"""Samples of the documentation that print something: they print it with the shipped model."""

from __future__ import annotations

import re
import subprocess

import pytest
from docs_pages import ROOT

from fer_edge.child import python_command

SAMPLE = re.compile(r"^```python\n([^`]*)^```\n+^```text\n([^`]*)^```", re.MULTILINE)
SAMPLES = [
    pytest.param(code, text, id=f"{name}:{number}")
    for name in ("docs/index.md", "docs/tutorials/first-prediction.md")
    for number, (code, text) in enumerate(SAMPLE.findall((ROOT / name).read_text("utf-8")))
    if "FACES" in code
]


def printed(*words: str) -> str:
    command = python_command(*words)
    return subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout


def test_the_samples_are_found() -> None:
    assert len(SAMPLES) == 3


@pytest.mark.parametrize(("code", "text"), SAMPLES)
def test_a_sample_prints_what_the_page_shows(code: str, text: str) -> None:
    assert printed("-c", code) == text


def test_the_clip_of_a_driver_has_the_events_that_the_tutorial_shows() -> None:
    page = (ROOT / "docs/tutorials/watch-a-driver.md").read_text("utf-8")
    shown = re.search(r"monitor_clip\.py --save.*?```text\n(.*?)```", page, re.DOTALL)
    assert shown is not None
    assert printed("examples/monitor_clip.py") == shown[1]
