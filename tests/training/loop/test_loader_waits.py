"""Training that waits for faces says how to load them faster."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from fer_edge.training.loop import loader_waits
from fer_edge.training.loop.loader_waits import LoaderWaits


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time in seconds, which stands still unless a test moves it."""
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def trained(clock: list[float], load_s: float, train_s: float) -> LoaderWaits:
    """Return what four batches were waited for."""

    def batches() -> Iterator[int]:
        for i in range(4):
            clock[0] += load_s
            yield i

    waits = LoaderWaits(batches())
    seen = []
    for batch in waits:
        clock[0] += train_s
        seen.append(batch)
    assert seen == [0, 1, 2, 3]
    return waits


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
    monkeypatch: pytest.MonkeyPatch,
    clock: list[float],
    cores: int,
    workers: int,
    processes: int,
    best: int | None,
) -> None:
    monkeypatch.setattr(loader_waits, "usable_cores", lambda: cores)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(processes))
    advice = trained(clock, 2, 1).advice(workers)
    assert advice is None if best is None else f"--set fit.workers={best}" in (advice or "")


@pytest.mark.parametrize(
    ("load_s", "train_s", "share"),
    [(0, 1, None), (0.3, 1, None), (1, 1, "43%"), (2, 0, "100%"), (0.2, 0, None)],
)
def test_only_long_waits_are_worth_a_sentence(
    monkeypatch: pytest.MonkeyPatch,
    clock: list[float],
    load_s: float,
    train_s: float,
    share: str | None,
) -> None:
    monkeypatch.setattr(loader_waits, "usable_cores", lambda: 16)
    advice = trained(clock, load_s, train_s).advice(1)
    assert advice is None if share is None else (advice or "").startswith(f"{share} of the time")


@pytest.mark.parametrize("batches", [[], [1]])
def test_the_first_batch_does_not_count(
    monkeypatch: pytest.MonkeyPatch, batches: list[int]
) -> None:
    monkeypatch.setattr(loader_waits, "usable_cores", lambda: 16)
    waited = LoaderWaits(batches)
    assert list(waited) == batches
    assert waited.advice(0) is None
