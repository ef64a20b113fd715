"""Bars of the Predictor over the bare engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from fer_edge.backends import onnxruntime, openvino
from fer_edge.benchmarks.studies import predictor_overhead as study


def test_a_bundle_of_other_engines_is_refused(fake_bundle: Path) -> None:
    done = CliRunner().invoke(study.main, [str(fake_bundle)])
    assert done.exit_code == 3
    assert "expected a variant of onnxruntime or openvino" in done.stderr


def test_a_bundle_that_does_not_run_here_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (onnxruntime, openvino):
        monkeypatch.setattr(module, "preflight", lambda *_: "it is not the day")
    done = CliRunner().invoke(study.main)
    assert done.exit_code == 5
    assert "could be measured" in done.stderr


@pytest.mark.parametrize(("name", "code"), [("", 0), ("openvino/fp32", 8)])
def test_a_missed_bar_is_a_limit(monkeypatch: pytest.MonkeyPatch, name: str, code: int) -> None:
    seen: list[str] = []

    def latency(_bundle: Path, variant: Any, _size_px: int) -> bool:
        seen.append(variant.name)
        return bool(variant.name != name)

    monkeypatch.setattr(study, "_latency", latency)
    monkeypatch.setattr(study, "_throughput", lambda *_: True)
    done = CliRunner().invoke(study.main)
    assert done.exit_code == code
    assert "openvino/fp32" in seen
    if code:
        assert "predictor_overhead: missed bars: latency of openvino/fp32" in done.stderr
