"""The study of kept memory: two processes make the same steps, and one of them keeps its memory."""

from __future__ import annotations

from multiprocessing import get_context
from typing import Any

import pytest
from click.testing import CliRunner

from fer_edge.benchmarks.studies import training_memory


def test_both_processes_make_steps_in_turns() -> None:
    done = CliRunner().invoke(training_memory.main, ["cnn48", "--steps", "8"])
    assert done.exit_code == 0, done.output
    assert "kept memory is" in done.output
    assert "given back" in done.output


@pytest.mark.parametrize("keep", [True, False])
def test_one_process_keeps_its_memory(monkeypatch: pytest.MonkeyPatch, keep: bool) -> None:
    done: list[str] = []

    def step_of(*_: Any, **__: Any) -> Any:
        return lambda: done.append("step")

    monkeypatch.setattr(training_memory, "keep_memory", lambda: done.append("keep"))
    monkeypatch.setattr(training_memory, "training_step", step_of)
    ours, theirs = get_context("spawn").Pipe()
    for request in (True, False):
        ours.send(request)
    training_memory._serve(theirs, None, keep)  # type: ignore[arg-type]
    assert done == ["keep"] * keep + ["step"]
