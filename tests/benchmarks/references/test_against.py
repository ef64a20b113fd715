"""A user's own function (``--against module:function``)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fer_edge.benchmarks.bench import bench
from fer_edge.benchmarks.references.against import load_against
from fer_edge.benchmarks.reports.terminal import print_table
from fer_edge.child import python_command
from fer_edge.errors import EngineError, InputError


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
def leaves(batch):
    raise SystemExit(0)
def single(batch):
    assert len(batch) == 1
"""
    (tmp_path / "their_engine.py").write_text(text, "utf-8")
    (tmp_path / "their_broken_engine.py").write_text("import no_such_library", "utf-8")
    (tmp_path / "their_leaving_engine.py").write_text("raise SystemExit(0)", "utf-8")
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
        ("their_engine:limit", InputError, "got 3"),
        ("their_engine:outfer", InputError, "got None"),
        ("their_engine:broken", EngineError, "no such kernel"),
        ("their_engine:leaves", EngineError, "SystemExit"),
        ("their_leaving_engine:infer", InputError, "cannot import their_leaving_engine"),
        ("time:nope", InputError, "function nope in the module time, got None"),
    ],
)
def test_a_function_that_cannot_be_used_is_a_sentence(
    theirs: Path, text: str, error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        load_against(text, 48)


def test_a_batch_that_their_function_does_not_take_is_a_sentence(
    theirs: Path, fake_bundle: Path
) -> None:
    with pytest.raises(EngineError, match=r"\[2, 48, 48, 3\]: AssertionError.*--batch-sizes 1"):
        bench(fake_bundle, (1, 2), against="their_engine:single", budget_s=0.1)


def test_a_stream_has_nobody_to_take_turns_with(theirs: Path, fake_bundle: Path) -> None:
    with pytest.raises(InputError, match="batch or single"):
        bench(fake_bundle, scenario="stream", against="their_engine:infer", budget_s=0.1)


@pytest.mark.skipif(os.name == "nt", reason="ctypes has no library of the process")
def test_what_their_function_prints_is_no_part_of_the_report(
    theirs: Path, fake_bundle: Path
) -> None:
    text = """
import ctypes, os
print("imported")
def infer(batch):
    print("in Python")
    os.write(1, b"on the descriptor ")
    ctypes.CDLL(None).printf(b"in C ")
"""
    (theirs / "their_chatty_engine.py").write_text(text, "utf-8")
    words = ["bench", str(fake_bundle), "--against", "their_chatty_engine:infer"]
    words += ["--batch-sizes", "1", "--budget-s", "0.1", "--json", "-q"]
    done = subprocess.run(
        python_command("-m", "fer_edge.cli", *words), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)["rows"]) == 2
    for said in ("imported", "in Python", "on the descriptor", "in C"):
        assert said in done.stderr
