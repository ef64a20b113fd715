"""Beside our own speed: accuracy, someone else's function, the official LoadGen."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from fer_edge.backends.fake import write_fake_bundle
from fer_edge.benchmarks.bench import bench
from fer_edge.benchmarks.measure.accuracy import mark_front
from fer_edge.benchmarks.references.against import load_against
from fer_edge.benchmarks.references.loadgen import read_summary
from fer_edge.benchmarks.reports.terminal import print_table
from fer_edge.errors import EngineError, InputError, MissingDependencyError
from fer_edge.shipped import FACES

# --- accuracy ------------------------------------------------------------------------------------


def test_accuracy_stands_beside_speed(fake_bundle: Path) -> None:
    """It always answers neutral: right for one class in seven, and agreeing with itself."""
    report = bench(fake_bundle, (1, 2), data=FACES, budget_s=0.1)
    for row in report["rows"]:
        assert row["accuracy"] == pytest.approx(1 / 7)
        assert (row["agreement"], row["of"], row["pareto"]) == (1, "fake/fp32", True)
    print_table(report)
    assert json.loads(json.dumps(report, allow_nan=False)) == report


def row(accuracy: float, p50_ms: float, batch: int = 1) -> dict[str, Any]:
    return {"accuracy": accuracy, "p50_ms": p50_ms, "batch": batch}


@pytest.mark.parametrize(
    ("rows", "front"),
    [
        ([row(0.7, 2), row(0.6, 1)], [True, True]),
        ([row(0.7, 2), row(0.6, 3)], [True, False]),
        ([row(0.7, 2), row(0.7, 3)], [True, False]),
        ([row(0.7, 2), row(0.7, 2)], [True, True]),
        ([row(0.7, 2), row(0.6, 3, batch=8)], [True, True]),
        ([row(0.7, 3), row(0.65, 2), row(0.64, 2.5), row(0.5, 1)], [True, True, False, True]),
    ],
)
def test_the_front_is_what_nothing_beats(rows: list[dict[str, Any]], front: list[bool]) -> None:
    mark_front(rows)
    assert [r["pareto"] for r in rows] == front


# --- against -------------------------------------------------------------------------------------


@pytest.fixture
def theirs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module of a stranger in the present folder."""
    text = """
shapes = []
limit = 3
def infer(batch):
    shapes.append((batch.shape, str(batch.dtype)))
def broken(batch):
    raise RuntimeError("no such kernel")
"""
    (tmp_path / "their_engine.py").write_text(text, "utf-8")
    (tmp_path / "their_broken_engine.py").write_text("import no_such_library", "utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "their_engine", raising=False)
    return tmp_path


def test_their_function_takes_turns_with_ours(theirs: Path, fake_bundle: Path) -> None:
    report = bench(fake_bundle, (1, 4), against="their_engine:infer", budget_s=0.1)
    assert {r["variant"] for r in report["rows"]} == {"fake/fp32", "their_engine:infer"}
    seen = set(sys.modules["their_engine"].shapes)
    assert seen == {((1, 48, 48, 3), "uint8"), ((4, 48, 48, 3), "uint8")}
    assert set(report["rows"][0]["speedup"]) == {"their_engine:infer"}
    print_table(report)


@pytest.mark.parametrize(
    ("text", "error", "said"),
    [
        ("their_engine", InputError, "expected module:function"),
        (":infer", InputError, "expected module:function"),
        ("no_such_module:infer", InputError, "cannot import no_such_module"),
        ("their_broken_engine:infer", InputError, "no_such_library"),
        ("their_engine:limit", InputError, "found 3"),
        ("their_engine:outfer", InputError, "found None"),
        ("their_engine:broken", EngineError, "no such kernel"),
    ],
)
def test_a_function_that_cannot_be_used_is_a_sentence(
    theirs: Path, text: str, error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        load_against(text, 48)


def test_a_stream_has_nobody_to_take_turns_with(theirs: Path, fake_bundle: Path) -> None:
    with pytest.raises(InputError, match="batch or single"):
        bench(fake_bundle, scenario="stream", against="their_engine:infer", budget_s=0.1)


# --- LoadGen -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scenario", "batch", "official", "figure"),
    [
        ("single", 1, "SingleStream", "p90_ms"),
        ("single", 4, "MultiStream", "p90_ms"),
        ("offline", 4, "Offline", "throughput_hz"),
    ],
)
def test_the_official_loadgen_stands_beside_ours(
    tmp_path: Path, scenario: str, batch: int, official: str, figure: str
) -> None:
    """With a fake engine of 2 ms; nothing is claimed about the time, only that it is counted."""
    pytest.importorskip("mlperf_loadgen")
    bundle = write_fake_bundle(tmp_path / "slow.fer", latency_ms=2)
    logs = tmp_path / "logs"
    report = bench(bundle, (batch,), scenario=scenario, budget_s=0.5, loadgen_logs=logs)
    (found,) = report["loadgen"]
    assert (found["scenario"], found["batch"]) == (official, batch)
    assert found[figure] > 0
    if scenario == "single":
        assert found["p90_ms"] >= 2
        assert found["our_p90_ms"] >= 2
    assert (Path(found["logs"]) / "mlperf_log_detail.txt").is_file()
    print_table(report)


def test_an_engine_that_breaks_under_loadgen_does_not_end_the_process(tmp_path: Path) -> None:
    pytest.importorskip("mlperf_loadgen")
    from fer_edge import Predictor
    from fer_edge.benchmarks.job import Job
    from fer_edge.benchmarks.references.loadgen import loadgen

    bundle = write_fake_bundle(tmp_path / "weak.fer", latency_ms=1, fail_after=100)
    with Predictor(bundle) as predictor:
        job = Job(bundle, 48, {"fake/fp32": predictor}, (1,), 0.2, lambda *step: None)
        with pytest.raises(EngineError, match="told to fail"):
            loadgen(job, "single", tmp_path / "logs")


def test_loadgen_has_no_constant_stream(fake_bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no constant stream"):
        bench(fake_bundle, scenario="stream", loadgen_logs=tmp_path, budget_s=0.1)


def test_a_missing_loadgen_is_the_line_that_installs_it(
    fake_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "mlperf_loadgen", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'fer-edge\[loadgen\]'"):
        bench(fake_bundle, scenario="single", loadgen_logs=tmp_path, budget_s=0.1)


def test_an_invalid_summary_is_called_so() -> None:
    text = "Scenario : Offline\nSamples per second: 12.5\nResult is : INVALID\n"
    found = read_summary(text)
    assert (found["valid"], found["throughput_hz"], found["p90_ms"]) == (False, 12.5, None)
