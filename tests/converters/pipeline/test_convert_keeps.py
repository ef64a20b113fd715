"""Variants that a conversion keeps, whatever is faster or fails on the machine that converts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from fer_edge import EngineError, open_bundle
from fer_edge.backends import onnxruntime as engine
from fer_edge.backends.base import Batch, Options, Outputs
from fer_edge.bundle import Variant
from fer_edge.cli import main
from fer_edge.converters import onnxruntime, openvino
from fer_edge.converters.pipeline import convert as module
from fer_edge.errors import ConversionError

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


@pytest.mark.usefixtures("openvino_is_faster", "two_recipes")
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


class _Failing:
    """Session that fails on its first face."""

    def run(self, batch: Batch) -> Outputs:
        raise EngineError("the engine fails. Check its driver")

    def close(self) -> None:
        pass


@pytest.mark.usefixtures("two_recipes")
@pytest.mark.parametrize("fails_as_it_loads", [True, False])
def test_an_engine_that_fails_on_one_variant_costs_no_other(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails_as_it_loads: bool
) -> None:
    load = engine.load

    def failing(variant: Variant, files: Mapping[str, bytes], options: Options) -> Any:
        if variant.precision != "int8":
            return load(variant, files, options)
        if fails_as_it_loads:
            raise EngineError("the engine fails. Check its driver")
        return _Failing()

    monkeypatch.setattr(engine, "load", failing)
    said: list[str] = []
    made = module.convert(checkpoint, ["onnxruntime"], tmp_path / "x.fer", ["all"], say=said.append)
    assert [variant.name for variant in made.variants] == ["onnxruntime/fp32"]
    assert any(line.startswith("Left out: onnxruntime/int8") and "driver" in line for line in said)
    with pytest.raises((EngineError, ConversionError), match="Check its driver"):
        module.convert(checkpoint, ["onnxruntime"], tmp_path / "y.fer", ["int8"], say=said.append)
    assert not (tmp_path / "y.fer").exists()
