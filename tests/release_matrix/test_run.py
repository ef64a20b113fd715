"""One command grades every cell, goes on after an end, and finds what got worse."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import fer_edge
from fer_edge.cli import main
from fer_edge.converters import onnxruntime as converter
from fer_edge.converters.base import Artifact, ConversionInput, QuantizationRecipe
from fer_edge.converters.pipeline.face_samples import MIN_GATE_FACES
from fer_edge.errors import ConversionError
from fer_edge.release_matrix import run as run_module
from fer_edge.release_matrix import stored
from fer_edge.release_matrix.cell import HERE, STAND_IN
from fer_edge.release_matrix.run import Request, release_matrix
from fer_edge.shipped import MODELS


def quiet(_: str) -> None:
    pass


def request(checkpoint: Path, *targets: str, **more: Any) -> Request:
    return Request(
        (str(checkpoint),), targets or ("onnxruntime",), ("fp32",), faces=140, budget_s=0.1, **more
    )


def command(checkpoint: Path, folder: Path, *more: str) -> Result:
    words = ["matrix", "--release", str(checkpoint), "--target", "onnxruntime"]
    words += ["--precision", "fp32", "--faces", "140", "--budget-s", "0.1", "-o", str(folder)]
    words += ["--latency-factor", "1000"]  # other work may slow the engine down meanwhile
    return CliRunner().invoke(main, [*words, *more])


@pytest.fixture(scope="module")
def graded(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the matrix of version 0.1.0: one cell that ran, one that a stand-in ran."""
    folder = tmp_path_factory.mktemp("graded")
    release_matrix(request(checkpoint, "onnxruntime", "coreml"), folder, version="0.1.0", say=quiet)
    return folder


@pytest.fixture
def folder(graded: Path, tmp_path: Path) -> Path:
    """A copy of it for one test."""
    shutil.copytree(graded, tmp_path / "matrix")
    return tmp_path / "matrix"


@pytest.fixture
def builds(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Precisions that the converter of onnxruntime builds from now on."""
    build = converter.build
    built: list[str] = []

    def counting(source: ConversionInput, precision: str, recipe: QuantizationRecipe) -> Artifact:
        built.append(precision)
        return build(source, precision, recipe)

    monkeypatch.setattr(converter, "build", counting)
    return built


def test_a_cell_has_all_four_steps(graded: Path) -> None:
    matrix = stored.load(graded / "0.1.0.json")
    assert matrix.unfinished == ()
    stand_in, cell = matrix.cells
    assert cell.name == "tiny onnxruntime/fp32"
    assert cell.grade == "passed"
    assert cell.build.bytes
    assert cell.run is not None
    assert cell.run.where == HERE
    assert "in fp32" in (cell.run.executed or "")
    assert cell.run.p50_ms is not None
    assert cell.parity is not None
    assert cell.parity.agreement == 1
    assert cell.accuracy is not None
    assert cell.accuracy.faces == 140
    assert cell.accuracy.low < cell.accuracy.value < cell.accuracy.high
    assert cell.accuracy.value == pytest.approx(cell.accuracy.bits.mean())
    assert stand_in.run is not None
    assert (stand_in.run.where, stand_in.run.by) == (STAND_IN, "coreml_evaluator")
    assert stand_in.run.p50_ms is None
    assert "✓ stand-in" in (graded / "0.1.0.md").read_text("utf-8")


def test_a_stored_cell_is_one_line_without_what_no_reader_needs(graded: Path) -> None:
    """A JSON of 40 cells is committed below docs/, where 150 kB is the limit."""
    text = (graded / "0.1.0.json").read_text()
    lines = [line for line in text.splitlines() if line.startswith('{"model"')]
    assert len(lines) == 2
    assert max(map(len, lines)) < 3_750
    for cell in stored.load(graded / "0.1.0.json").cells:
        assert cell.parity is not None
        assert cell.parity.judgement is not None
        classes = [c for c in cell.parity.judgement.checks if c.name.startswith("recall_change.")]
        assert "passed" not in {check.verdict for check in classes}
        assert cell.run is not None
        assert cell.run.latencies is None or len(cell.run.latencies) <= 100


def test_judge_seconds_bounds_the_faces_and_the_page_says_it(
    checkpoint: Path, tmp_path: Path
) -> None:
    done = command(checkpoint, tmp_path, "--judge-seconds", "0.000001")
    assert done.exit_code == 0, done.output
    (cell,) = stored.load(tmp_path / f"{fer_edge.__version__}.json").cells
    assert cell.accuracy is not None
    assert cell.accuracy.faces == MIN_GATE_FACES < 140
    text = (tmp_path / f"{fer_edge.__version__}.md").read_text("utf-8")
    assert "each variant is judged on the faces of 1e-06 s, and on at least 100" in text


def test_a_run_that_was_killed_goes_on_where_it_ended(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grade, graded = run_module.grade, list[str]()

    def dying(key: Any, *rest: Any) -> Any:
        if key[1] == "openvino" and len(graded) == 1:
            raise KeyboardInterrupt
        graded.append(key[1])
        return grade(key, *rest)

    monkeypatch.setattr(run_module, "grade", dying)
    wanted = request(checkpoint, "onnxruntime", "openvino")
    with pytest.raises(KeyboardInterrupt):
        release_matrix(wanted, tmp_path, version="0.1.0", say=quiet)
    half = stored.load(tmp_path / "0.1.0.json")
    assert (len(half.cells), half.unfinished) == (1, ("tiny openvino/fp32",))
    assert "Unfinished: 1 cell is left." in (tmp_path / "0.1.0.md").read_text("utf-8")
    # Another target, or what is there already, does not finish what the run has left.
    graded.append("")  # the other runs do not die
    for _ in range(2):
        other = release_matrix(
            request(checkpoint, "onnxruntime"), tmp_path, version="0.1.0", say=quiet
        )
        assert other.unfinished == ("tiny openvino/fp32",)
        assert "Unfinished: 1 cell is left." in (tmp_path / "0.1.0.md").read_text("utf-8")
    whole = release_matrix(wanted, tmp_path, version="0.1.0", say=quiet)
    assert graded == ["onnxruntime", "", "openvino"]
    assert (len(whole.cells), whole.unfinished) == (2, ())
    assert whole.cell(half.cells[0].key) == half.cells[0]
    first, second = whole.conditions
    assert (first["cells"], second["cells"]) == (
        ["tiny onnxruntime/fp32"],
        ["tiny openvino/fp32"],
    )


def test_a_cell_is_graded_again_only_if_its_inputs_changed(
    checkpoint: Path, folder: Path, builds: list[str]
) -> None:
    said: list[str] = []
    longer = request(checkpoint, judge_seconds=1e6)
    release_matrix(longer, folder, version="0.1.0", say=said.append)
    assert builds == []
    assert said[0].startswith("1 cells, 1 of them graded before; --again grades them")
    release_matrix(request(checkpoint, again=True), folder, version="0.1.0", say=quiet)
    assert builds == ["fp32"]
    path = folder / "0.1.0.json"
    item = json.loads(path.read_text())
    for cell in item["cells"]:
        cell["identity"]["faces"] = "0" * 64
    path.write_text(json.dumps(item))
    release_matrix(request(checkpoint), folder, version="0.1.0", say=quiet)
    assert builds == 2 * ["fp32"]


def test_a_regression_ends_with_8_and_stands_at_the_top(
    checkpoint: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    item = json.loads((folder / "0.1.0.json").read_text())
    (folder / "0.0.9.json").write_text(json.dumps(item | {"version": "0.0.9"}))
    (folder / "0.1.0.json").unlink()
    assert command(checkpoint, folder).exit_code == 0

    def broken(source: ConversionInput, precision: str, recipe: QuantizationRecipe) -> Artifact:
        raise ConversionError("a layer is unknown")

    monkeypatch.setattr(converter, "build", broken)
    done = command(checkpoint, folder, "--again", "--json")
    assert done.exit_code == 8, done.output
    assert "since 0.0.9: tiny onnxruntime/fp32: passed (here) before, not built now" in done.stderr
    assert json.loads(done.stdout)["comparison"]["regressions"]
    lines = (folder / "0.1.0.md").read_text("utf-8").splitlines()
    assert lines[2] == "## Regressions since 0.0.9: 1"


def test_a_damaged_matrix_is_refused_before_the_work(
    checkpoint: Path, tmp_path: Path, builds: list[str]
) -> None:
    for name in ("0.0.9.json", "0.1.0.json"):
        (tmp_path / name).write_text('{"schema": 1, "cells": [')
        done = command(checkpoint, tmp_path)
        assert done.exit_code == 3
        assert f"{name} to be a release matrix" in done.stderr
        (tmp_path / name).unlink()
    assert builds == []


def test_a_place_that_cannot_be_written_is_refused_before_the_work(
    checkpoint: Path, tmp_path: Path, builds: list[str]
) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "page" / f"{fer_edge.__version__}.md").mkdir(parents=True)
    for name in ("file", "file/below", "page"):
        done = command(checkpoint, tmp_path / name)
        assert done.exit_code == 3, done.output
        assert "Choose another -o" in done.stderr
    assert builds == []


def test_a_run_says_what_is_left_before_its_first_cell(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(run_module, "grade", killed)
    with pytest.raises(KeyboardInterrupt):
        release_matrix(request(checkpoint), tmp_path, version="0.1.0", say=quiet)
    assert "Unfinished: 1 cell is left." in (tmp_path / "0.1.0.md").read_text("utf-8")


def test_a_precision_that_no_target_has_is_refused_beside_one_that_it_has(
    checkpoint: Path, tmp_path: Path
) -> None:
    done = command(checkpoint, tmp_path, "--precision", "w8a16")
    assert done.exit_code == 5
    assert "none of the targets has the precision 'w8a16'. Offered: onnxruntime" in done.stderr


def test_a_cell_that_cannot_be_compared_ends_with_3(
    checkpoint: Path, folder: Path, builds: list[str]
) -> None:
    item = json.loads((folder / "0.1.0.json").read_text())
    item["cells"] = [cell | {"precision": "fp32"} for cell in item["cells"]]
    (folder / "old.json").write_text(json.dumps(item | {"version": "0.0.9"}))
    cell = next(cell for cell in item["cells"] if cell["target"] == "onnxruntime")
    cell |= {"grade": "not built", "run": None, "parity": None, "accuracy": None}
    cell["build"] = {"failure": "needs onnx", "not_installed": True, "seconds": None, "bytes": None}
    comparison = run_module.compare(
        stored.load(folder / "old.json"), stored.Matrix.parse(item), lambda key: True
    )
    assert comparison.not_compared == ("tiny onnxruntime/fp32: needs onnx",)
    (folder / "0.1.0.json").write_text(json.dumps(item))
    done = command(checkpoint, folder, "--against", str(folder / "old.json"))
    assert builds == ["fp32"]  # a library that was missing is looked for again
    assert done.exit_code == 0, done.output


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["tiny"], "CHECKPOINT needs --release"),
        (["--faces", "20"], "--faces needs --release"),
        (["--judge-seconds", "9"], "--judge-seconds needs --release"),
        (["--again"], "--again needs --release"),
        (["--release", "--small"], "--small does not go with --release"),
        (["--release", "--keep", "x"], "--keep does not go with --release"),
    ],
)
def test_options_of_the_other_form_are_refused(words: list[str], message: str) -> None:
    done = CliRunner().invoke(main, ["matrix", *words])
    assert done.exit_code == 2
    assert message in done.stderr


def test_two_checkpoints_need_two_names(checkpoint: Path, tmp_path: Path) -> None:
    shutil.copytree(checkpoint, tmp_path / "other" / checkpoint.name)
    done = command(checkpoint, tmp_path / "out", str(tmp_path / "other" / checkpoint.name))
    assert done.exit_code == 3
    assert "different names" in done.stderr


def test_the_models_are_those_that_ship(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    loaded: list[str] = []

    def stop(text: Path) -> None:
        loaded.append(text.name)
        raise KeyboardInterrupt

    monkeypatch.setattr("fer_edge.release_matrix.models.load_checkpoint", stop)
    with pytest.raises(KeyboardInterrupt):
        release_matrix(Request(), tmp_path, say=quiet)
    assert loaded == [f"{MODELS[0]}-checkpoint"]


@pytest.mark.parametrize("name", ["none/table.md", "folder"])
def test_a_table_that_cannot_be_written_is_refused_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (tmp_path / "folder").mkdir()
    monkeypatch.setattr("fer_edge.converters.pipeline.matrix.matrix", None)
    done = CliRunner().invoke(main, ["matrix", "--small", "-o", str(tmp_path / name)])
    assert done.exit_code == 3, done.output
    assert f"cannot write {tmp_path / name}" in done.stderr
