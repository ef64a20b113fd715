"""Stored matrices: damaged ones are refused, and the last version is found."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from sample_cells import CELL, matrix

from fer_edge.errors import DataError
from fer_edge.release_matrix import stored
from fer_edge.release_matrix.stored import Comparison, Matrix


def test_a_matrix_survives_its_file(tmp_path: Path) -> None:
    comparison = Comparison("0.1.0", ("a cell got worse",), ("a cell is gone",), ("a note",))
    whole = replace(
        matrix(), comparison=comparison, conditions=({"machine": "a chip", "cells": [CELL.name]},)
    )
    path = tmp_path / "new/0.2.0.json"
    assert stored.change(path, lambda now: whole, "0.2.0") == whole
    assert stored.load(path) == whole
    assert [file.name for file in path.parent.iterdir()] == ["0.2.0.json"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "[" * 9_999,
        '{"schema": 1}',
        json.dumps(matrix().as_dict())[:-40],
        json.dumps(matrix().as_dict() | {"schema": 2}),
        json.dumps(matrix().as_dict() | {"cells": [CELL.as_dict(), CELL.as_dict()]}),
        json.dumps(matrix().as_dict() | {"cells": [CELL.as_dict() | {"grade": "ran"}]}),
        json.dumps(matrix().as_dict() | {"unfinished": 3}),
        json.dumps(matrix().as_dict() | {"conditions": {"command": "of an earlier form"}}),
        json.dumps(matrix().as_dict() | {"conditions": [{"command": "without its cells"}]}),
        *(
            json.dumps(matrix().as_dict() | {"conditions": [{"cells": [], **wrong}]})
            for wrong in (
                {"command": 3},
                {"faces": 5},
                {"faces": {"default": None}},
                {"libraries": [1]},
                {"budget_s": "x", "judge_seconds": 1},
                {"budget_s": 1, "judge_seconds": float("nan")},
                {"latency_factor": float("inf")},
                {"note": float("nan")},
            )
        ),
    ],
)
def test_a_damaged_file_is_refused_with_a_sentence(tmp_path: Path, text: str) -> None:
    path = tmp_path / "0.1.0.json"
    path.write_text(text)
    with pytest.raises(DataError, match=r"0\.1\.0\.json to be a release matrix.*Restore it, or"):
        stored.load(path)


def test_bytes_that_are_no_text_and_a_missing_file_are_refused(tmp_path: Path) -> None:
    (tmp_path / "0.1.0.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="Restore it"):
        stored.load(tmp_path / "0.1.0.json")
    for path in (tmp_path / "0.2.0.json", tmp_path):
        with pytest.raises(DataError, match=r"cannot read the release matrix .* Name another file"):
            stored.load(path)


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="the system has no such device")
def test_a_device_is_refused_at_once() -> None:
    with pytest.raises(DataError, match=r"cannot read .*a device.*Name another file"):
        stored.load(Path("/dev/zero"))


def test_a_file_that_is_no_json_is_called_so(tmp_path: Path) -> None:
    (tmp_path / "0.1.0.md").write_text("# Release matrix 0.1.0")
    with pytest.raises(DataError, match="but it is not JSON"):
        stored.load(tmp_path / "0.1.0.md")


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="Choose another -o"):
        stored.change(tmp_path / "file/0.1.0.json", lambda now: now, "0.1.0")


def test_the_last_version_before_this_one_is_found(tmp_path: Path) -> None:
    names = ["0.9.0", "0.10.0", "0.10.1rc1", "0.10.1", "0.10.1.post1", "0.11.dev1", "0.11", "1.0"]
    for name in reversed(names):
        (tmp_path / f"{name}.json").write_text("{}")
    (tmp_path / "notes.json").write_text("{}")
    for before, version in zip([None, *names], [*names, "2"], strict=True):
        path = stored.earlier(tmp_path, version)
        assert (None if path is None else path.stem) == before
    assert stored.earlier(tmp_path / "none", "1.0") is None


def test_each_run_keeps_the_conditions_of_its_cells() -> None:
    """A second run for one target says nothing about the cells of the first."""
    other = replace(CELL, precision="fp32")
    both = matrix(CELL, other)
    first = both.graded_under({"command": "all"}, [CELL, other])
    second = first.graded_under({"command": "int8 alone"}, [CELL])
    assert second.conditions == (
        {"command": "all", "cells": [other.name]},
        {"command": "int8 alone", "cells": [CELL.name]},
    )
    assert second.graded_under({"command": "nothing was left to do"}, []) == second
    third = second.graded_under({"command": "all again"}, [CELL, other])
    assert [run["command"] for run in third.conditions] == ["all again"]
    gone = replace(second, cells=(CELL,)).graded_under({"command": "last"}, [])
    assert [run["command"] for run in gone.conditions] == ["int8 alone"]


def test_a_cell_replaces_itself_and_those_of_an_earlier_checkpoint() -> None:
    other = replace(CELL, precision="fp32")
    both = Matrix("0.2.0").with_cell(other).with_cell(CELL)
    assert [cell.precision for cell in both.cells] == ["fp32", "int8"]
    retrained = replace(CELL, identity=replace(CELL.identity, checkpoint="f" * 64))
    assert both.with_cell(retrained).cells == (retrained,)
    assert len(both.with_cell(replace(retrained, model="fast")).cells) == 3


def test_cells_stand_in_the_order_of_models_and_targets() -> None:
    cells = [replace(CELL, model=m, precision=p) for m in ("b", "a") for p in ("int8", "fp32")]
    pairs = [("onnxruntime", "fp32"), ("onnxruntime", "int8")]
    ordered = matrix(*cells).sorted_by(["a", "b"], pairs)
    assert [(cell.model, cell.precision) for cell in ordered.cells] == [
        ("a", "fp32"),
        ("a", "int8"),
        ("b", "fp32"),
        ("b", "int8"),
    ]
