"""The script of the conversion environment: batches that give each face its own answers."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fer_edge.child import python_command
from fer_edge.converters.litert_conversion import in_environment

Spoil = Callable[[Any, Any], tuple[Any, Any]]


def sound(probabilities: Any, embedding: Any) -> tuple[Any, Any]:
    return probabilities, embedding


def one_embedding_for_all(probabilities: Any, embedding: Any) -> tuple[Any, Any]:
    return probabilities, embedding[:1].repeat(len(embedding), 0)


def one_answer_for_all(probabilities: Any, embedding: Any) -> tuple[Any, Any]:
    return probabilities[:1].repeat(len(embedding), 0), embedding


def a_static_embedding(probabilities: Any, embedding: Any) -> tuple[Any, Any]:
    return probabilities, embedding[:1]


def no_numbers(probabilities: Any, embedding: Any) -> tuple[Any, Any]:
    return probabilities, embedding * np.nan


@pytest.mark.parametrize(
    ("spoil", "resizable"),
    [
        (sound, True),
        (one_embedding_for_all, False),
        (one_answer_for_all, False),
        (a_static_embedding, False),
        (no_numbers, False),
    ],
)
def test_a_batch_of_any_size_keeps_both_outputs(
    monkeypatch: pytest.MonkeyPatch, spoil: Spoil, resizable: bool
) -> None:
    interpreter = pytest.importorskip("ai_edge_litert.interpreter")

    class Engine:
        def __init__(self, model_content: bytes) -> None:
            self.batch = np.zeros(0)

        def allocate_tensors(self) -> None: ...

        def resize_tensor_input(self, place: int, shape: tuple[int, ...]) -> None: ...

        def get_input_details(self) -> list[dict[str, int]]:
            return [{"index": 0}]

        def get_output_details(self) -> list[dict[str, int]]:
            return [{"index": 0}, {"index": 1}]

        def set_tensor(self, place: int, batch: Any) -> None:
            self.batch = batch

        def invoke(self) -> None:
            pixels = self.batch.reshape(len(self.batch), -1)[:, :4].astype(np.float32) + 1
            outputs = pixels / pixels.sum(1, keepdims=True), pixels
            self.outputs = spoil(*outputs) if len(pixels) > 1 else outputs

        def get_tensor(self, place: int) -> Any:
            return self.outputs[place]

    monkeypatch.setattr(interpreter, "Interpreter", Engine)
    assert in_environment._resizable(b"", 8) is resizable


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends orphans")
def test_it_ends_with_a_conversion_that_is_killed(tmp_path: Path, wait_for: Any) -> None:
    job = tmp_path / "job.json"
    os.mkfifo(job)
    command = [sys.executable, "-I", in_environment.__file__, str(tmp_path)]
    code = f"import os, subprocess; subprocess.run([*{command!r}, str(os.getpid())])"
    parent = subprocess.Popen(python_command("-c", code))
    writer = None
    try:
        writer = wait_for(lambda: _writer(job))  # the script waits for its job
    finally:
        parent.kill()
        parent.wait()
    wait_for(lambda: _writer(job) is None)  # nobody reads any more
    os.close(writer)


def _writer(pipe: Path) -> int | None:
    """Open a pipe for writing; None if nobody reads it."""
    try:
        return os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
    except OSError:
        return None
