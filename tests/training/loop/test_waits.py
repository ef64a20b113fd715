"""Training that waits for faces says how to load them faster."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import pytest

from fer_edge.training.loop import waits
from fer_edge.training.loop.waits import Waits


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Epochs here take a fraction of a second."""
    monkeypatch.setattr(waits, "_LEAST_S", 0.02)


def batches(load_s: float) -> Iterator[int]:
    for i in range(4):
        time.sleep(load_s)
        yield i


def trained(load_s: float, train_s: float) -> Waits:
    timed = Waits(batches(load_s))
    seen = []
    for batch in timed:
        time.sleep(train_s)
        seen.append(batch)
    assert seen == [0, 1, 2, 3]
    return timed


@pytest.mark.parametrize(
    ("cores", "workers", "processes", "best"),
    [
        (16, 1, 1, 15),
        (64, 1, 1, 16),
        (16, 1, 4, 3),
        (16, 15, 1, None),
        (2, 1, 1, None),
        (1, 0, 1, None),
    ],
)
def test_slow_loading_names_the_processes_that_this_machine_has_cores_for(
    monkeypatch: pytest.MonkeyPatch, cores: int, workers: int, processes: int, best: int | None
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(processes))
    advice = trained(0.04, 0).advice(workers)
    assert advice is None if best is None else f"--set fit.workers={best}" in (advice or "")


def test_fast_loading_and_few_batches_need_no_advice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 16)
    assert trained(0, 0.04).advice(1) is None
    one = Waits([1])
    assert list(one) == [1]
    assert one.advice(0) is None
    none = Waits([])
    assert list(none) == []
    assert none.advice(0) is None
