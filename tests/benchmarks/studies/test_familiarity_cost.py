"""Cost of familiarity: both bundles, and the command."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from fer_edge import DEFAULT_BUNDLE, open_bundle
from fer_edge.backends import onnxruntime, openvino
from fer_edge.benchmarks.studies.familiarity_cost import main, write_pair


def test_the_pair_differs_in_familiarity_alone(tmp_path: Path) -> None:
    plain, wary = map(open_bundle, write_pair(open_bundle(DEFAULT_BUNDLE), tmp_path))
    assert plain.familiarity is None
    assert wary.familiarity is not None
    assert plain.variants == wary.variants == open_bundle(DEFAULT_BUNDLE).variants
    (tmp_path / "again").mkdir()
    _, again = map(open_bundle, write_pair(wary, tmp_path / "again"))
    assert again.familiarity == wary.familiarity


def test_each_variant_that_runs_gets_a_row() -> None:
    done = CliRunner().invoke(main, ["--samples", "24", "--json"])
    assert done.exit_code == 0, done.output
    rows = json.loads(done.stdout)["rows"]
    assert {"openvino/fp32", "onnxruntime/fp32"} <= {row["variant"] for row in rows}
    for row in rows:
        assert row["low"] <= row["ratio"] <= row["high"]
        for name in ("with", "without", "alone"):
            assert 0 < row[f"least_{name}_ms"] <= row[f"{name}_ms"]
    text = CliRunner().invoke(main, ["--samples", "24"]).stdout
    assert text.count(" ms = ") == len(rows)


def test_a_bundle_that_does_not_run_here_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (onnxruntime, openvino):
        monkeypatch.setattr(module, "preflight", lambda *_: "it is not the day")
    done = CliRunner().invoke(main, ["--samples", "24"])
    assert done.exit_code == 5
    assert "it is not the day. To see what runs here: fer-edge doctor" in done.stderr
