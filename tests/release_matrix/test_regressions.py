"""A cell that got worse is found; one that did not is left alone."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sample_cells import CELL, accuracy, failed, matrix, ran, report

from fer_edge.release_matrix.cell import HERE, NOWHERE, SIMULATED, STAND_IN, Build, Cell, Run
from fer_edge.release_matrix.regressions import compare
from fer_edge.release_matrix.stored import Comparison
from fer_edge.verdict import UNDECIDED

ELSEWHERE = {**CELL.machine, "cpu": "another chip"}
NOT_BUILT = replace(CELL, build=Build("overflow"), run=None, parity=None, accuracy=None)


def compared(before: Cell, after: Cell, factor: float = 1.5) -> Comparison:
    return compare(matrix(before, version="0.1.0"), matrix(after), lambda key: True, factor)


def test_the_same_cell_is_no_regression() -> None:
    assert compared(CELL, CELL) == Comparison("0.1.0")


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        (CELL, failed(), "passed (here) before, ran (here) now: 97.00 % agree"),
        (CELL, replace(CELL, parity=report(UNDECIDED)), "not enough faces to tell (here) now"),
        (CELL, NOT_BUILT, "not built now: overflow"),
        (failed(), NOT_BUILT, "ran (here) before, not built now"),
        (CELL, replace(CELL, run=ran(where=STAND_IN, reason="no driver")), "(stand-in) now"),
    ],
)
def test_a_grade_that_fell_is_a_regression(before: Cell, after: Cell, words: str) -> None:
    (sentence,) = compared(before, after).regressions
    assert sentence.startswith("default onnxruntime/int8: ")
    assert words in sentence
    assert compared(after, before).regressions == ()


def test_another_machine_that_cannot_run_a_cell_is_no_regression() -> None:
    nowhere = replace(
        CELL,
        machine=ELSEWHERE,
        run=Run(NOWHERE, reason="no GPU"),
        parity=None,
        accuracy=None,
    )
    comparison = compared(CELL, nowhere)
    assert comparison.regressions == ()
    assert comparison.not_compared[0].endswith("built (nowhere) now: no GPU (on another machine)")


def test_a_gate_that_fails_on_another_machine_is_a_regression() -> None:
    assert compared(CELL, replace(failed(), machine=ELSEWHERE)).regressions


def test_a_library_that_is_missing_now_is_not_compared() -> None:
    missing = replace(NOT_BUILT, build=Build("needs nncf", not_installed=True))
    comparison = compared(CELL, missing)
    assert comparison.regressions == ()
    assert comparison.not_compared == ("default onnxruntime/int8: needs nncf",)
    assert compared(missing, missing) == Comparison("0.1.0")


def test_accuracy_that_fell_beyond_its_interval_is_a_regression() -> None:
    fallen = replace(CELL, accuracy=accuracy(780))
    (sentence,) = compared(CELL, fallen).regressions
    assert "accuracy fell by 2.00 points (" in sentence
    assert "on the same 1,000 faces" in sentence
    # Three faces of a thousand happen by chance.
    assert compared(CELL, replace(CELL, accuracy=accuracy(797))).regressions == ()
    assert compared(fallen, CELL).regressions == ()


def test_copies_of_few_faces_are_no_evidence() -> None:
    def copies(correct: int) -> Cell:
        return replace(CELL, accuracy=replace(accuracy(correct), independent=0.02))

    assert compared(copies(800), copies(780)).regressions == ()


def test_a_text_of_a_stored_cell_cannot_forge_a_line() -> None:
    forged = Cell.parse(CELL.as_dict() | {"model": "|x|\n# y\x1b[2J"}, "cell")
    lost = replace(CELL, build=Build("no library\n# y", True), run=None, parity=None, accuracy=None)
    for comparison in (
        compare(matrix(forged, version="0.1.0"), matrix(CELL), lambda key: True),
        compared(CELL, lost),
    ):
        (sentence,) = comparison.not_compared
        assert sentence.isprintable()


def test_accuracy_on_the_first_of_the_same_faces_is_compared() -> None:
    few = replace(CELL, accuracy=accuracy(200, faces=250))  # a simulator's time budget ended
    assert "250 faces" in compared(CELL, few).regressions[0]


def test_accuracy_on_other_faces_is_not_compared() -> None:
    other = replace(CELL, accuracy=accuracy(10), identity=replace(CELL.identity, faces="e" * 64))
    comparison = compared(CELL, other)
    assert comparison.regressions == ()
    assert "other faces" in comparison.notes[0]


def test_latency_that_grew_beyond_the_factor_is_a_regression() -> None:
    slower = replace(CELL, run=ran(1.8))
    (sentence,) = compared(CELL, slower).regressions
    assert "the median latency grew 1.80 times" in sentence
    assert "1.5 times is allowed" in sentence
    assert compared(CELL, slower, factor=2.0).regressions == ()
    assert compared(CELL, replace(CELL, run=ran(1.3))).regressions == ()
    assert compared(slower, CELL).regressions == ()


def test_a_latency_that_is_no_longer_measured_is_not_compared() -> None:
    failed_now = replace(CELL, run=Run(HERE, note="timing failed"))
    (sentence,) = compared(CELL, failed_now).not_compared
    assert sentence == "default onnxruntime/int8: its latency is not measured now: timing failed"
    few = replace(CELL, run=Run(HERE, latencies_ns="1000 1000"))
    assert "2 samples are too few" in compared(CELL, few).not_compared[0]
    assert compared(few, failed_now) == Comparison("0.1.0")
    assert compared(CELL, replace(failed_now, machine=ELSEWHERE)).not_compared == ()


def test_latencies_of_two_machines_are_not_compared() -> None:
    comparison = compared(CELL, replace(CELL, run=ran(9.0), machine=ELSEWHERE))
    assert comparison.regressions == ()
    assert "other machine (cpu a chip and another chip)" in comparison.notes[0]


def test_latencies_of_two_gpus_are_not_compared() -> None:
    one, other = (
        replace(CELL, run=ran(p50), machine={**CELL.machine, "gpus": [{"name": name}]})
        for p50, name in ((1.0, "H200"), (9.0, "T4"))
    )
    comparison = compared(one, other)
    assert comparison.regressions == ()
    assert "other machine (gpus ['H200'] and ['T4'])" in comparison.notes[0]
    assert len(compared(one, replace(one, run=ran(9.0))).regressions) == 1


def test_a_cell_that_is_gone_is_not_compared_if_it_was_requested() -> None:
    old, new = matrix(CELL, version="0.1.0"), matrix(replace(CELL, model="fast"))
    gone = compare(old, new, lambda key: True)
    assert gone.not_compared == ("default onnxruntime/int8 is in 0.1.0 and not in this one",)
    assert compare(old, new, lambda key: False) == Comparison("0.1.0")


def test_a_simulated_cell_is_compared_by_grade_and_accuracy() -> None:
    simulated = replace(CELL, run=Run(SIMULATED, "HTP simulator", "no such chip"))
    assert compared(simulated, simulated) == Comparison("0.1.0")
    worse = replace(simulated, accuracy=accuracy(700))
    assert len(compared(simulated, worse).regressions) == 1
