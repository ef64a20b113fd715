"""Tables of a report on the terminal: whole cells at any width, and words for what lacks."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fer_edge.benchmarks.bench import bench
from fer_edge.benchmarks.reports import terminal


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_no_cell_is_cut_on_a_terminal(
    fake_bundle: Path,
    columns: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    report = bench(fake_bundle, (1, 8), budget_s=0.05)
    for row in report["rows"]:
        row |= {"p90_ms": 1.0, "p99_ms": None, "missing": {"p99_ms": 374}}
    terminal.print_table(report)
    text = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)
    assert max(map(len, text.splitlines())) <= columns
    assert "…" not in text
    for header in ("p50 ms", "p99 ms", "faces/s", "steady", "total s", "split"):
        assert f" {header} " in text
    assert "more are needed for p99 374" in " ".join(text.split())
    assert "--budget-s" in text


def test_text_in_brackets_is_printed_as_it_is(
    fake_bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = bench(fake_bundle, (1,), budget_s=0.05)
    said = "Run: pip install 'fer-edge[openvino]'; cannot read [/data/x] :warning:"
    report["note"] = report["method"] = said
    report["refused"] = [{"variant": "[red]/fp32", "reason": said}]
    report["budget"] = [{"sentence": said, "held": True}]
    report["rows"][0]["variant"] = "mine[/x]:infer"
    terminal.print_table(report)
    printed = capsys.readouterr().out
    assert printed.count(said) == 4
    assert f"not run: [red]/fp32: {said}" in printed
    assert "mine[/x]:infer" in printed


def test_only_percentiles_with_a_column_lack_samples(
    fake_bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = bench(fake_bundle, (1,), budget_s=0.05)
    report["rows"][0] |= {"p90_ms": 1.0, "p99_ms": 2.0, "missing": {"p99_9_ms": 5936}}
    terminal.print_table(report)
    assert "too few samples, " not in capsys.readouterr().out


def test_rows_of_both_states_are_told_apart(
    fake_bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = bench(fake_bundle, (1,), scenario="contended", budget_s=0.1)
    assert [bool(row["slower_by"]) for row in report["rows"]] == [False, True]
    for row in report["rows"]:
        row |= {"p99_ms": None, "missing": {**row["missing"], "p99_ms": 9}}
    terminal.print_table(report)
    printed = capsys.readouterr().out
    for state in ("alone", "contended"):
        assert f"fake/fp32 {state}, batch 1: too few samples" in printed
