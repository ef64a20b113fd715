"""The matrix has a row for every cell, with figures or with the reason why there are none."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from fer_edge.backends import onnxruntime as engine
from fer_edge.cli import main
from fer_edge.converters import onnxruntime
from fer_edge.converters.base import (
    Artifact,
    ConversionInput,
    QuantizationRecipe,
    converter,
    targets,
)
from fer_edge.converters.pipeline import build_variant, matrix_networks, verify_variant
from fer_edge.converters.pipeline import matrix as matrix_module
from fer_edge.converters.pipeline.face_samples import parity_faces
from fer_edge.converters.pipeline.matrix import FACES, cells, matrix
from fer_edge.converters.pipeline.matrix_networks import FULL, SMALL, fitted
from fer_edge.converters.pipeline.matrix_table import MatrixRow, markdown
from fer_edge.errors import ConversionError, InputError, TargetError
from fer_edge.labels import EMOTIONS
from fer_edge.parity import JudgedBy
from fer_edge.preprocess import CropRule
from fer_edge.training.checkpoint import load_checkpoint
from fer_edge.training.deploy import DeployModule
from fer_edge.training.models.network import ExpressionNet, parameter_count


@pytest.fixture(autouse=True)
def few_faces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cells are judged on few faces here: verdicts have tests of their own."""
    monkeypatch.setattr(matrix_module, "FACES", 140)


def quiet(_: str) -> None:
    pass


def test_the_full_networks_are_those_of_the_five_systems() -> None:
    spec = FULL["tf_efficientnetv2_s"]
    assert parameter_count(ExpressionNet(spec)) == 20_968_023
    assert FULL["swin_base_patch4_window7_224"].neck == ("linear 128",)
    assert len(FULL) == len(SMALL) == 6


@pytest.mark.slow
def test_every_small_network_passes_in_fp32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxruntime, "PRECISIONS", ("fp32",))
    # GCViT takes half a minute; the test of its recipe converts it.
    networks = {name: spec for name, spec in SMALL.items() if name != "gcvit, small"}
    rows = matrix(networks, only=["onnxruntime"], say=quiet)
    assert len(rows) == len(SMALL)
    for row in rows:
        assert row.refused is None, row
        assert row.bytes
        assert row.p50_ms
        assert row.failures == ()
        assert row.agreement == 1
    assert FACES >= 765


def test_a_quantised_network_is_judged_by_its_own_int8(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxruntime, "PRECISIONS", ("int8",))
    (row,) = matrix({}, named=["the default model"], only=["onnxruntime"], say=quiet)
    assert (row.agreement, row.failures, row.recipes_tried) == (1, (), 0)


@pytest.mark.usefixtures("two_recipes")
def test_a_refusal_is_a_row_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    build = onnxruntime.build

    def refusing(source: ConversionInput, precision: str, recipe: QuantizationRecipe) -> Artifact:
        if precision == "int8":
            raise ConversionError("this chip has no such arithmetic")
        return replace(build(source, precision, recipe), reference_session=None)

    monkeypatch.setattr(onnxruntime, "build", refusing)
    monkeypatch.setattr(engine, "preflight", lambda variant, options: "no such chip | here")
    rows = matrix({"cnn48": SMALL["cnn48"]}, only=["onnxruntime"], say=quiet)
    assert [row.refused for row in rows] == [
        "no such chip | here",
        "this chip has no such arithmetic",  # its int8 is its own: there is no recipe to choose
        "no such chip | here",
        "no recipe could be built and run: this chip has no such arithmetic",
    ]
    at_a_glance, table = (part.splitlines() for part in markdown(rows).split("\n\n")[1:])
    assert at_a_glance[2:] == [
        "| onnxruntime/fp32 | – | – |",
        "| onnxruntime/int8 | – | – |",
    ]
    assert len(table) == 2 + len(rows)
    assert len({line.count("|") for line in table}) == 1


def test_pairs_are_listed_once_and_a_precision_that_no_target_has_is_refused() -> None:
    assert cells(["onnxruntime"] * 2, ["fp32"] * 2) == [("onnxruntime", "fp32")]
    with pytest.raises(InputError, match=r"has the precision bogus\. .*--precision"):
        cells(["onnxruntime"], ["fp32", "bogus"])
    with pytest.raises(TargetError, match=r"unknown GPU sm_99"):
        matrix({}, only=["onnxruntime"], gpus=["sm_99"], say=quiet)


def test_a_network_that_cannot_be_exported_has_its_rows_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuses(*_: Any) -> None:
        raise ConversionError("no export")

    monkeypatch.setattr(matrix_module, "prepare", refuses)
    seen: list[int] = []
    rows = matrix(
        {}, only=["onnxruntime"], say=quiet, on_rows=lambda so_far: seen.append(len(so_far))
    )
    assert seen == [len(rows)] == [len(onnxruntime.PRECISIONS)]
    assert {row.refused for row in rows} == {"no export"}


def test_a_simulator_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    """It needs seconds for a face, and its latency says nothing of a chip's."""
    for module in (build_variant, verify_variant):
        monkeypatch.setattr(module, "simulator", lambda *_: "simulator of a chip")
    (row,) = matrix({}, only=["onnxruntime"], precisions=["fp32"], say=quiet)
    assert row.agreement == 1
    assert row.judged_by is not None
    assert row.p50_ms is None


def test_what_became_of_each_cell_is_seen_at_a_glance() -> None:
    fp32 = MatrixRow("cnn48", 1, "coreml", "fp32", agreement=1.0)
    pal6 = replace(fp32, precision="pal6", agreement=0.914, failures=("too far off",))
    table = markdown([fp32, pal6, replace(fp32, network="vit")])
    assert table.split("\n\n")[1].splitlines() == [
        "|  | cnn48 | vit |",
        "| --- | --- | --- |",
        "| coreml/fp32 | ✓ 100.0% | ✓ 100.0% |",
        "| coreml/pal6 | ✗ 91.4% |  |",
    ]


def test_who_judged_in_an_engines_place_stands_below_the_table() -> None:
    row = MatrixRow(
        "cnn48",
        1,
        "coreml",
        "int8",
        agreement=1,
        judged_by=JudgedBy("coreml_evaluator", "no Mac here"),
        recipes_tried=3,
    )
    table = markdown([row, replace(row, precision="pal6")])
    assert table.count("passed (the best of 3 recipes) [1]") == 2
    note = "coreml_evaluator; the chip itself has not run it yet: no Mac here"
    assert table.endswith(f"[1] Verified by {note}.  \n")


def test_the_command_prints_and_writes_the_table(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    monkeypatch.setattr(matrix_networks, "SMALL", {"cnn48": SMALL["cnn48"]})
    out = tmp_path / "matrix.md"
    command = ["matrix", "--small", "--target", "onnxruntime", "--network", "cnn48", "--json"]
    done = CliRunner().invoke(main, [*command, "-o", str(out)])
    assert done.exit_code == 0, done.output
    rows = json.loads(done.stdout)
    assert [row["precision"] for row in rows] == list(converter("onnxruntime").PRECISIONS)
    assert "| cnn48 | 390,119 | onnxruntime | fp32 | 100.00% |" in out.read_text("utf-8")
    assert set(targets()) >= {"onnxruntime", "openvino"}


def test_rows_that_are_there_survive_what_ends_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    build = onnxruntime.build

    def dying(source: ConversionInput, precision: str, recipe: QuantizationRecipe) -> Artifact:
        if precision == "int8":
            raise KeyboardInterrupt
        return build(source, precision, recipe)

    monkeypatch.setattr(onnxruntime, "build", dying)
    out = tmp_path / "matrix.md"
    command = ["matrix", "--small", "--target", "onnxruntime", "--network", "cnn48"]
    assert CliRunner().invoke(main, [*command, "-o", str(out)]).exit_code != 0
    assert "| cnn48 | 390,119 | onnxruntime | fp32 | 100.00% |" in out.read_text("utf-8")


def test_the_networks_are_kept_and_one_precision_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    monkeypatch.setattr(matrix_networks, "SMALL", {"cnn48, small": SMALL["cnn48"]})
    command = ["matrix", "--small", "--target", "openvino", "--precision", "fp32", "--json"]
    done = CliRunner().invoke(main, [*command, "--network", "cnn"])
    assert done.exit_code == 3
    assert "'cnn48, small'" in done.output
    done = CliRunner().invoke(main, ["matrix", "--target", "onnxruntime", "--precision", "fp7"])
    assert done.exit_code == 5
    assert "fp7" in done.output
    kept_in = tmp_path / "new" / "kept"
    table = tmp_path / "new" / "table.md"  # in a folder that --keep makes
    more = ["--network", "cnn48, small", "--keep", str(kept_in), "-o", str(table)]
    done = CliRunner().invoke(main, [*command, *more])
    assert done.exit_code == 0, done.output
    assert table.is_file()
    assert [row["precision"] for row in json.loads(done.stdout)] == ["fp32"]
    kept = load_checkpoint(kept_in / "cnn48-small")
    assert parameter_count(kept.model) == 390_119
    before = (kept_in / "cnn48-small" / "card.json").read_bytes()
    again = CliRunner().invoke(main, [*command, *more])
    assert "fitting" in done.stderr
    assert "fitting" not in again.stderr
    assert (kept_in / "cnn48-small" / "card.json").read_bytes() == before
    assert _cells(again.stdout) == _cells(done.stdout)


def _cells(stdout: str) -> list[tuple[Any, ...]]:
    return [(row["agreement"], row["max_abs_dp"]) for row in json.loads(stdout)]


def test_random_networks_do_not_explode() -> None:
    """Else rounding decides, and no engine agrees with torch: system C's network at full size."""
    spec = FULL["tf_efficientnetv2_s"]
    all_faces = parity_faces(None, EMOTIONS, CropRule(spec.input.size_px), 280)
    few = slice(0, None, 10)
    faces = replace(all_faces, images=all_faces.images[few], truth=all_faces.truth[few])
    made = fitted(spec, faces)
    _, together = DeployModule(made).run(faces.images[:4])
    _, alone = DeployModule(made).run(faces.images[:1])
    assert np.allclose(alone[0], together[0], rtol=1e-3, atol=1e-3 * np.abs(together).max())
    assert np.abs(together).max() < 100
