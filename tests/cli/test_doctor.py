"""``fer-edge doctor``: every part, and the shipped model."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from fer_edge import shipped


def test_doctor_knows_every_part_and_the_model(
    run: Any, fake_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shipped, "DEFAULT_BUNDLE", fake_bundle)
    report = json.loads(run("doctor", "--json").stdout)
    assert report["default_model"] == [
        "fake/fp32: taken (not proven: it has no parity report); "
        "the fake engine, all on no chip: 1 layer in fp32"
    ]
    assert {"onnxruntime", "openvino", "torch"} <= set(report["parts"])
    for finding in report["parts"].values():
        assert finding["ok"] or re.search("pip install|detector fetch", finding["says"])
    said = run("doctor").stdout
    assert all(part in said for part in report["parts"])


def test_doctor_lives_through_a_damaged_model(
    run: Any, damaged_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shipped, "DEFAULT_BUNDLE", damaged_bundle)
    report = json.loads(run("doctor", "--json").stdout)
    assert report["parts"]["onnxruntime"]["ok"]
    assert "answers.json" in " ".join(report["default_model"])


def test_doctor_finds_the_shipped_model(run: Any) -> None:
    model = json.loads(run("doctor", "--json").stdout)["default_model"]
    assert sum("taken" in line for line in model) == 1
