"""Variants that a conversion keeps, whatever is faster on the machine that converts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from fer_edge import open_bundle
from fer_edge.cli import main
from fer_edge.converters import onnxruntime, openvino
from fer_edge.converters.pipeline import convert as module

TARGETS = ("onnxruntime", "openvino")


@pytest.fixture
def openvino_is_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    def planted(sessions: Mapping[str, Any], face: Any) -> dict[str, float]:
        return {name: 1.0 + name.startswith("onnxruntime") for name in sessions}

    monkeypatch.setattr(module, "single_face_p50_ms", planted)


def bundle_of(checkpoint: Path, out: Path, targets: tuple[str, ...]) -> list[str]:
    named = [part for target in targets for part in ("--target", target)]
    result = CliRunner().invoke(main, ["convert", str(checkpoint), *named, "-o", str(out)])
    assert result.exit_code == 0, result.output
    return [variant.name for variant in open_bundle(out).variants]


@pytest.mark.usefixtures("openvino_is_faster")
@pytest.mark.parametrize("targets", [TARGETS, TARGETS[::-1]])
def test_each_target_keeps_fp32_whatever_is_faster_here(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, targets: tuple[str, ...]
) -> None:
    for converter in (onnxruntime, openvino):
        monkeypatch.setattr(converter, "PRECISIONS", ("fp32",))
    names = bundle_of(checkpoint, tmp_path / "x.fer", targets)
    assert names == ["openvino/fp32", "onnxruntime/fp32"]  # the faster one first


@pytest.mark.usefixtures("openvino_is_faster")
def test_a_target_without_fp32_keeps_its_fastest_variant(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnxruntime, "PRECISIONS", ("int8",))
    monkeypatch.setattr(openvino, "PRECISIONS", ("fp32",))
    result = CliRunner().invoke(
        main,
        [
            *("convert", str(checkpoint), "--target", "onnxruntime", "--target", "openvino"),
            *("--allow-drop", "10", "-o", str(tmp_path / "x.fer")),
        ],
    )
    assert result.exit_code == 0, result.output
    names = {variant.name for variant in open_bundle(tmp_path / "x.fer").variants}
    assert names == {"onnxruntime/int8", "openvino/fp32"}
