"""The page says first what got worse, and marks what did not run on a chip."""

from __future__ import annotations

from dataclasses import replace

from sample_cells import CELL, failed, matrix, report

from fer_edge.release_matrix.cell import NOWHERE, SIMULATED, STAND_IN, Build, Run
from fer_edge.release_matrix.page import page
from fer_edge.release_matrix.stored import Comparison, Matrix
from fer_edge.verdict import UNDECIDED


def test_regressions_stand_at_the_top() -> None:
    comparison = Comparison("0.1.0", ("default a/fp32: it | fell",), ("b is gone",), ("a note",))
    lines = page(replace(matrix(), comparison=comparison)).splitlines()
    assert lines[0] == "# Release matrix 0.2.0"
    assert lines[2] == "## Regressions since 0.1.0: 1"
    assert "- default a/fp32: it / fell" in lines
    assert "- b is gone" in lines
    assert lines.index("- b is gone") < lines.index("## At a glance")
    none = page(replace(matrix(), comparison=Comparison("0.1.0")))
    assert "## Regressions since 0.1.0: none" in none
    assert "no earlier version" in page(matrix())


def test_an_unfinished_matrix_says_so() -> None:
    assert "**Unfinished: 3 cells are left.**" in page(
        replace(matrix(), unfinished=("a", "b", "c"))
    )


def test_a_matrix_without_a_cell_has_no_empty_table() -> None:
    text = page(Matrix("0.2.0", unfinished=("a", "b")))
    assert "Unfinished: 2 cells are left." in text
    assert "|" not in text


def test_simulated_cells_are_marked_with_what_ran() -> None:
    cells = (
        CELL,
        replace(CELL, target="qnn", run=Run(SIMULATED, "HTP simulator", "there is no such chip")),
        replace(CELL, target="coreml", run=Run(STAND_IN, "coreml_evaluator", "this is Linux")),
        replace(
            CELL,
            target="tensorrt",
            run=Run(NOWHERE, reason="no GPU"),
            parity=None,
            accuracy=None,
        ),
        replace(CELL, target="litert", build=Build("not | here"), run=None, parity=None),
        replace(failed(), target="openvino"),
        replace(CELL, model="fast", parity=report(UNDECIDED)),
    )
    text = page(matrix(*cells))
    glance = [line for line in text.splitlines() if line.startswith("| ") and "/int8" in line]
    assert glance == [
        "| onnxruntime/int8 | ✓ | ? |",
        "| qnn/int8 | ✓ simulated |  |",
        "| coreml/int8 | ✓ stand-in |  |",
        "| tensorrt/int8 | built |  |",
        "| litert/int8 | – |  |",
        "| openvino/int8 | ✗ |  |",
    ]
    assert "coreml_evaluator ran instead of the chip's engine, as this is Linux" in text
    assert "HTP simulator ran instead of the chip's engine" in text
    assert "not / here" in text
    table = [line for line in text.splitlines() if line.startswith(("| default", "| fast"))]
    assert len({line.count("|") for line in table}) == 1
    assert "**simulated**" in table[1]


def test_figures_have_their_intervals_and_their_method() -> None:
    text = page(matrix())
    assert "80.00 % (78.00 to 82.00), 1,000 faces" in text
    assert "passed, 99.90 % (99.70 to 100.00), max dp 1.0e-02" in text
    assert "one 200x200 BGR crop (batch 1)" in text


def test_each_run_stands_with_its_conditions_and_cells() -> None:
    qnn = replace(CELL, target="qnn")
    runs = (
        {"command": "a", "budget_s": 3.0, "judge_seconds": 120.0, "cells": [CELL.name]},
        {"command": "b", "budget_s": 3.0, "judge_seconds": 600.0, "cells": [qnn.name]},
    )
    lines = page(replace(matrix(CELL, qnn), conditions=runs)).splitlines()
    first, second = (next(i for i, x in enumerate(lines) if f"`{c}`" in x) for c in "ab")
    assert lines[first].endswith("1 cell of onnxruntime")
    assert lines[second].endswith("1 cell of qnn")
    judged = "- each variant is judged on the faces of {} s, and on at least 100; timed for 3 s"
    assert judged.format(120) in lines[first:second]
    assert judged.format(600) in lines[second:]
