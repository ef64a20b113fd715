"""Functions that threads call one after the other, and imports of engines among them."""

from __future__ import annotations

import gc
import sys
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fer_edge import telemetry
from fer_edge.one_at_a_time import one_at_a_time, own_lock


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


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_forked_child_does_not_wait_for_a_thread_of_its_parent(
    ends_in_a_fork: Callable[..., bool],
) -> None:
    begun = _Begun()
    call = one_at_a_time(lambda inside: begun.run() if inside else None)
    thread = threading.Thread(target=call, args=(True,))
    thread.start()
    assert begun.began.wait(60)
    ended = ends_in_a_fork(lambda: call(False))
    begun.may_end.set()
    thread.join(60)
    assert ended


class _Owner:
    def __init__(self) -> None:
        self._lock = own_lock(self)

    def run(self, work: Callable[[], object]) -> None:
        with self._lock:
            work()


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_lock_that_a_thread_of_the_parent_holds_is_free_in_a_forked_child(
    ends_in_a_fork: Callable[..., bool],
) -> None:
    owner, begun = _Owner(), _Begun()
    thread = threading.Thread(target=owner.run, args=(begun.run,))
    thread.start()
    assert begun.began.wait(60)
    ended = ends_in_a_fork(lambda: owner.run(lambda: None))
    begun.may_end.set()
    thread.join(60)
    assert ended


def test_an_owner_of_a_lock_is_collected() -> None:
    owner = weakref.ref(_Owner())
    gc.collect()
    assert owner() is None


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
