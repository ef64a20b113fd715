"""The study of waits: both settings are timed, alone and beside a busy core."""

from __future__ import annotations

from pathlib import Path

import pytest

from fer_edge.benchmarks.studies import busy_machine
from fer_edge.labels import EMOTIONS
from fer_edge.torch_threads import ROUNDS, SPIN_COUNT
from fer_edge.training.checkpoint import Checkpoint, save_checkpoint
from fer_edge.training.models.network import ExpressionNet, InputSpec, ModelSpec


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    spec = ModelSpec("test_byobnet", EMOTIONS, InputSpec(32, "grey", (0.5,), (0.25,)))
    save_checkpoint(Checkpoint(ExpressionNet(spec).eval()), tmp_path / "c")
    return tmp_path / "c"


def test_both_settings_run_alone_and_beside_a_busy_core(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings: list[str | None] = []
    child = busy_machine.ChildReference

    def watched(folder: Path, *, env: dict[str, str]) -> busy_machine.ChildReference:
        settings.append(env.get(SPIN_COUNT))
        return child(folder, env=env)

    monkeypatch.setattr(busy_machine, "ChildReference", watched)
    monkeypatch.setenv(SPIN_COUNT, "7")  # of this process, and of neither child
    found = list(busy_machine.rows(checkpoint, 1, 8))
    assert [row["beside"] for row in found] == ["nothing else", "one busy core"]
    assert settings == [None, ROUNDS] * 2
    for row in found:
        assert row["long_ms"] > 0
        assert row["short_ms"] > 0
