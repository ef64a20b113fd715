"""Full demo: a small checkpoint converted, and measured."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from fer_edge import demo
from fer_edge.bundle import open_bundle
from fer_edge.cli import main


@pytest.mark.usefixtures("few_faces")
def test_the_full_demo_prints_tables_and_no_failure(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "DEFAULT_CHECKPOINT", checkpoint)
    for name, value in {"_SAMPLES": 24, "_MEASURE_S": 0.1, "_BATCH_S": 0.1}.items():
        monkeypatch.setattr(demo, name, value)
    small = {"_BATCH_SIZES": (1,), "_TARGETS": ("onnxruntime",), "_PRECISIONS": ("fp32",)}
    for name, choice in small.items():
        monkeypatch.setattr(demo, name, choice)
    result = CliRunner().invoke(main, ["demo", "--full", "--quiet", "-o", str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert "FAILED" not in result.output
    assert result.stderr == ""
    bundle = open_bundle(tmp_path / "demo.fer")
    converted = result.stdout.split("4. The trained model")[1].split("5. Latency")[0]
    for variant in bundle.variants:
        assert f"   {variant.name} " in converted
    left_out = result.stdout.split("\nLeft out:\n")[1]
    assert "   tensorrt " in left_out
