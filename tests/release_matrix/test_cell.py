"""Grades of a cell, and its JSON form."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from sample_cells import CELL, failed, report

from fer_edge.release_matrix.cell import NOWHERE, SIMULATED, Build, Cell, Run
from fer_edge.verdict import UNDECIDED


def test_each_step_that_is_passed_raises_the_grade() -> None:
    none = replace(CELL, build=Build("no such arithmetic"), run=None, parity=None, accuracy=None)
    built = replace(none, build=Build(None, False, 1.0, 5), run=Run(NOWHERE, reason="no GPU"))
    assert none.grade == "not built"
    assert built.grade == "built"
    assert failed().grade == "ran"
    assert replace(CELL, parity=report(UNDECIDED)).grade == UNDECIDED
    assert CELL.grade == "passed"


def test_an_undecided_cell_with_a_figure_beyond_its_limit_has_only_run() -> None:
    cell = replace(CELL, parity=report(UNDECIDED, ("98.00 % agree, 99.50 % is needed",)))
    assert cell.grade == "ran"


@pytest.mark.parametrize(
    "cell",
    [
        CELL,
        failed(),
        replace(CELL, identity=replace(CELL.identity, gpus=("T4", "T4"))),
        replace(CELL, build=Build("no library", True), run=None, parity=None, accuracy=None),
        replace(CELL, run=Run(SIMULATED, "HTP simulator", "no such chip", "QNN on HTP: 9 layers")),
    ],
)
def test_a_cell_survives_its_json_form(cell: Cell) -> None:
    assert Cell.parse(json.loads(json.dumps(cell.as_dict(), allow_nan=False)), "cell") == cell


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("grade",), "ran"),
        (("run", "where"), "elsewhere"),
        (("run", "latencies_ns"), "12 -3"),
        (("run", "latencies_ns"), "12 some"),
        (("accuracy", "correct"), "00"),
        (("accuracy", "correct"), "zz"),
        (("accuracy", "value"), 1.5),
        (("accuracy", "independent"), 0),
        (("accuracy", "independent"), 1e-300),
        (("identity", "checkpoint"), "short"),
        (("identity", "libraries"), {"onnxruntime": 1}),
        (("identity", "gpus"), "T4"),
        (("machine", "gpus"), [7]),
        (("build", "not_installed"), 0),
        (("parity", "agreement"), None),
        (("more",), 1),
    ],
)
def test_a_damaged_cell_is_refused(path: tuple[str, ...], value: Any) -> None:
    item = json.loads(json.dumps(CELL.as_dict()))
    place = item
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    with pytest.raises(ValueError, match=r"expected|unknown|invalid|non-base64|padding"):
        Cell.parse(item, "cell")
