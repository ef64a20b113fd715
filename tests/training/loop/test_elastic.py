"""A run that torchrun starts again goes on; another run's folder stays."""

from __future__ import annotations

from pathlib import Path

import pytest
from torch.distributed import TCPStore

from fer_edge.errors import TrainingError
from fer_edge.training.loop.elastic import claim


@pytest.fixture
def agent(monkeypatch: pytest.MonkeyPatch) -> TCPStore:
    """Store of an agent, and the environment of its workers."""
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    monkeypatch.setenv("TORCHELASTIC_USE_AGENT_STORE", "True")
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "0")
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", str(store.port))
    return store


def leave_a_state(run: Path) -> None:
    run.mkdir(exist_ok=True)
    (run / "state.pt").write_bytes(b"weights")


@pytest.mark.parametrize("count", ["0", "1"])
def test_a_later_start_of_the_same_launch_goes_on(
    agent: TCPStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: str
) -> None:
    """The count stays 0 if a machine joins or leaves."""
    assert not claim(tmp_path / "run", resume=False)
    leave_a_state(tmp_path / "run")
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", count)
    assert claim(tmp_path / "run", resume=False)
    assert claim(tmp_path / "run", resume=False)


def test_a_restart_after_a_refusal_is_refused_too(
    agent: TCPStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave_a_state(tmp_path / "old")
    for count in ("0", "1", "2"):
        monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", count)
        with pytest.raises(TrainingError, match="--resume"):
            claim(tmp_path / "old", resume=False)
    assert claim(tmp_path / "old", resume=True)


def test_another_folder_of_the_same_launch_is_its_own(agent: TCPStore, tmp_path: Path) -> None:
    leave_a_state(tmp_path / "old")
    assert not claim(tmp_path / "new", resume=False)
    with pytest.raises(TrainingError):
        claim(tmp_path / "old", resume=False)


def test_an_agent_without_store_leaves_the_choice_to_resume(
    agent: TCPStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCHELASTIC_USE_AGENT_STORE", "False")
    assert not claim(tmp_path / "run", resume=False)
    leave_a_state(tmp_path / "run")
    with pytest.raises(TrainingError):
        claim(tmp_path / "run", resume=False)


def test_an_agent_that_does_not_answer_is_a_training_error(
    agent: TCPStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MASTER_PORT", "none")
    with pytest.raises(TrainingError, match="torchrun"):
        claim(tmp_path / "run", resume=False)
