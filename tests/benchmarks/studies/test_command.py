"""Command lines of the studies: input that cannot be used is answered with a sentence."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from fer_edge.benchmarks.studies import backbones, predictor_overhead, training_step


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (predictor_overhead.main, ["missing.fer"]),
        (training_step.main, ["no-such-recipe"]),
        (backbones.main, ["damaged"]),
    ],
)
def test_what_cannot_be_used_is_answered_with_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: click.Command, words: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "damaged" / "a.fer").mkdir(parents=True)
    result = CliRunner().invoke(command, words)
    assert isinstance(result.exception, SystemExit), result.exception
    assert result.exit_code > 0
    assert result.stderr.startswith(f"{command.name}: ")
