"""Functions that threads call one after the other, and imports of engines among them."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fer_edge import telemetry
from fer_edge.one_at_a_time import one_at_a_time


class _Begun:
    """Work that says when it begins, and ends when the test says so."""

    def __init__(self) -> None:
        self.began, self.may_end = threading.Event(), threading.Event()
        self.calls = 0

    def run(self) -> None:
        self.calls += 1
        self.began.set()
        assert self.may_end.wait(60)


def _threads(work: Callable[[], object], begun: _Begun) -> list[object]:
    """Call from two threads, the second while the first is inside; return both results."""
    results: list[object] = []
    first, second = (threading.Thread(target=lambda: results.append(work())) for _ in range(2))
    first.start()
    assert begun.began.wait(60)
    second.start()
    second.join(0.3)
    assert second.is_alive(), "the second call did not wait for the first"
    begun.may_end.set()
    for thread in (first, second):
        thread.join(60)
    return results


def test_a_second_thread_waits_for_the_first() -> None:
    begun = _Begun()
    _threads(one_at_a_time(begun.run), begun)
    assert begun.calls == 2


def test_a_call_inside_a_call_does_not_wait_for_itself() -> None:
    @one_at_a_time
    def count(left: int) -> int:
        return 0 if left == 0 else 1 + count(left - 1)

    assert count(3) == 3


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_forked_child_does_not_wait_for_a_thread_of_its_parent() -> None:
    begun = _Begun()
    call = one_at_a_time(lambda inside: begun.run() if inside else None)
    thread = threading.Thread(target=call, args=(True,))
    thread.start()
    assert begun.began.wait(60)
    child = os.fork()
    if child == 0:
        free = threading.Thread(target=call, args=(False,), daemon=True)
        free.start()
        free.join(30)
        os._exit(int(free.is_alive()))
    begun.may_end.set()
    thread.join(60)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.parametrize("own_import", [False, True], ids=["Predictors", "application"])
def test_no_thread_gets_an_engine_that_another_still_imports(
    own_import: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = _Begun()
    monkeypatch.setattr(sys, "engine_import", begun, raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    name = f"slow_engine_{own_import}"
    (tmp_path / f"{name}.py").write_text("import sys\nsys.engine_import.run()\nCore = object\n")

    def load() -> Any:
        if own_import and not begun.began.is_set():
            return __import__(name).Core
        return telemetry.import_without_telemetry(name).Core

    assert _threads(load, begun) == [object, object]
    assert begun.calls == 1
