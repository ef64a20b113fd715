"""Table of bundles against their checkpoint in torch."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from fer_edge.benchmarks.studies import backbones
from fer_edge.shipped import DEFAULT_BUNDLE, DEFAULT_CHECKPOINT


@pytest.mark.slow
def test_each_variant_stands_beside_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backbones, "_ROUNDS", 1)
    monkeypatch.setattr(backbones, "_ROUND_S", 1.0)
    monkeypatch.setattr(backbones, "_APP_S", 1.0)
    cells = backbones.rows(DEFAULT_BUNDLE, DEFAULT_CHECKPOINT)
    table = [dict(zip(backbones.HEADER, row, strict=True)) for row in cells]
    by_name = {row["runs in"]: row for row in table}
    assert {"torch eager fp32", "torch.compile", "onnxruntime/fp32"} <= set(by_name)
    assert by_name["torch eager fp32"]["against torch eager fp32 (95 %)"] == ""
    for name, row in by_name.items():
        assert float(row["p50 ms"]) > 0
        assert ("x (" in row["against torch eager fp32 (95 %)"]) is (name != "torch eager fp32")
        assert bool(row["benchmark_app p50 ms"]) is name.startswith("openvino")
    assert by_name["onnxruntime/fp32"]["agreement"] == "100.00%"


@pytest.mark.parametrize("name", [".", "missing"])
def test_a_folder_without_bundles_is_refused(tmp_path: Path, name: str) -> None:
    done = CliRunner().invoke(backbones.main, [str(tmp_path / name)])
    assert done.exit_code == 3
    assert "scripts/bench-backbones" in done.stderr
