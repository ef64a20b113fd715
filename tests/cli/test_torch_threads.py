"""Threads, waits and memory of torch, as commands set them."""

from __future__ import annotations

import os
from typing import Any

import pytest

from fer_edge.cli import main
from fer_edge.torch_threads import ROUNDS


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Environment that ``doctor`` and ``bench`` see."""
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "OMP_NUM_THREADS"):
        monkeypatch.setenv(name, "")  # so that the test's end removes what the command sets
        monkeypatch.delenv(name)
    seen: dict[str, str] = {}
    for command in ("doctor", "bench"):
        monkeypatch.setattr(main.commands[command], "callback", lambda **_: seen.update(os.environ))
    return seen


def test_a_command_shortens_the_waits(run: Any, seen: dict[str, str]) -> None:
    run("doctor")
    assert seen["GOMP_SPINCOUNT"] == ROUNDS


@pytest.mark.parametrize("name", ["GOMP_SPINCOUNT", "OMP_WAIT_POLICY"])
def test_the_users_own_setting_stays(
    run: Any, seen: dict[str, str], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "ACTIVE")
    run("doctor")
    others = {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"} & set(seen)
    assert others == {name}
    assert seen[name] == "ACTIVE"


@pytest.mark.parametrize(
    ("usable", "own", "set_to"), [(3, None, "3"), (3, "1", "1"), (8, None, None)]
)
def test_a_command_starts_no_more_threads_than_a_quota_runs(
    run: Any,
    seen: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    usable: int,
    own: str | None,
    set_to: str | None,
) -> None:
    monkeypatch.setattr("fer_edge.cores.usable_cores", lambda: usable)
    monkeypatch.setattr("fer_edge.cores.cores_of_the_machine", lambda: 8)
    if own is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", own)
    run("doctor")
    assert seen.get("OMP_NUM_THREADS") == set_to


def test_bench_times_torch_as_it_is(run: Any, seen: dict[str, str]) -> None:
    run("bench", "x.fer")
    assert seen
    assert "GOMP_SPINCOUNT" not in seen


def test_commands_that_train_keep_their_memory(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[str] = []
    monkeypatch.setattr("fer_edge.cli.keep_memory", lambda: kept.append(""))
    for name in ("train", "quantize", "predict", "bench", "serve"):
        run(name, "--help")
    assert len(kept) == 2
