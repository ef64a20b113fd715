"""``fer-edge evaluate``: figures on the terminal and report files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fer_edge.labels import EMOTIONS
from fer_edge.shipped import FACES


def test_evaluate_gives_the_figures_of_a_bundle(run: Any, fake_bundle: Path) -> None:
    """It always answers neutral: right for one class in seven."""
    result = run("evaluate", fake_bundle, "--data", FACES, "--json")
    assert result.exit_code == 0
    (report,) = json.loads(result.stdout)["inputs"]
    assert report["all"]["accuracy"] == pytest.approx(1 / 7)
    assert report["all"]["per_class"]["neutral"]["recall"] == 1
    assert report["variant"] == "fake/fp32"
    said = run("evaluate", fake_bundle, "--data", FACES).stdout
    assert "accuracy 0.1429" in said
    assert all(name in said for name in EMOTIONS)


def test_evaluate_writes_each_form(run: Any, fake_bundle: Path, tmp_path: Path) -> None:
    outs = [tmp_path / f"report.{suffix}" for suffix in ("json", "html", "png")]
    arguments = [part for out in outs for part in ("-o", out)]
    result = run("evaluate", fake_bundle, fake_bundle, "--data", FACES, *arguments)
    assert result.exit_code == 0
    assert [out.read_bytes()[:5] for out in outs] == [b'{\n "i', b"<!doc", b"\x89PNG\r"]
    assert "against fake.fer fake/fp32: accuracy +0.00 points" in result.stdout
