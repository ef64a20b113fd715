"""Contended calls on a planted clock and load."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import psutil
import pytest

from fer_edge.benchmarks.bench import bench
from fer_edge.benchmarks.scenarios import contended
from fer_edge.benchmarks.scenarios.contended import in_turns
from fer_edge.child import python_command
from fer_edge.errors import EngineError

MS = 1_000_000


def test_contended_calls_take_turns_with_calls_alone(clock: Any) -> None:
    states = []
    loaded = [False]

    def switch(on: bool) -> None:
        loaded[0] = on
        states.append(on)

    taken = in_turns(
        lambda: clock.work(3 if loaded[0] else 2), switch, budget_s=60, now_ns=clock.now_ns
    )
    assert states == [False, True] * 14
    assert {state: set((s.ns / MS).tolist()) for state, s in taken.items()} == {
        "alone": {2.0},
        "contended": {3.0},
    }
    assert all(s.percentile_ms(99) is not None for s in taken.values())


def test_contended_ends_with_its_budget(clock: Any) -> None:
    taken = in_turns(lambda: clock.work(100), lambda on: None, 1, now_ns=clock.now_ns)
    assert {len(s.ns) for s in taken.values()} == {48}


def test_load_that_does_not_start_is_an_error(
    fake_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contended, "_LOAD", "raise SystemExit(9)")
    with pytest.raises(EngineError, match="ended with exit code 9"):
        bench(fake_bundle, scenario="contended", budget_s=0.1)


def test_the_load_is_looked_at_after_the_last_block(
    fake_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    states: list[bool] = []
    monkeypatch.setattr(contended, "load", lambda processes: nullcontext(states.append))
    bench(fake_bundle, scenario="contended", budget_s=0.1)
    assert states[-3:] == [False, True, False]


def test_load_that_is_killed_in_its_last_block_is_an_error() -> None:
    before = set(psutil.Process().children())
    with contended.load(1) as switch:
        (child,) = set(psutil.Process().children()) - before
        switch(True)
        child.kill()
        while child.status() != psutil.STATUS_ZOMBIE:
            time.sleep(0.01)
        with pytest.raises(EngineError, match="exit code -9"):
            switch(False)


@pytest.mark.skipif(os.name == "nt", reason="Windows sends no SIGINT to a group")
def test_ctrl_c_leaves_no_word_of_the_load() -> None:
    code = """
import time
from fer_edge.benchmarks.scenarios.contended import load
try:
    with load(2):
        print("loaded", flush=True)
        time.sleep(600)
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""
    parent = subprocess.Popen(
        python_command("-c", code),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert parent.stdout is not None
    assert parent.stdout.readline() == "loaded\n"
    os.killpg(parent.pid, signal.SIGINT)
    assert parent.communicate(timeout=120) == ("interrupted\n", "")
