"""Contended calls on a planted clock and load."""

from __future__ import annotations

from typing import Any

from fer_edge.benchmarks.scenarios.contended import in_turns

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
