"""Command lines of modules: input that cannot be used is answered with a sentence."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from fer_edge.benchmarks.studies import backbones, predictor_overhead, training_step
from fer_edge.training import average, blendshapes, corruptions, make_composites
from fer_edge.training.loop import write_opinions
from fer_edge.training.reports import group_card, model_card


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (predictor_overhead.main, ["missing.fer"]),
        (training_step.main, ["no-such-recipe"]),
        (backbones.main, ["damaged"]),
        (average.main, ["missing", "default", "--data", "damaged", "-o", "out"]),
        (blendshapes.main, ["missing.task", "--data", "damaged", "-o", "out"]),
        (corruptions.main, ["default", "--data", "damaged"]),
        (corruptions.main, ["default", "--data", "damaged", "-o", "damaged"]),
        (write_opinions.main, ["missing", "--data", "damaged", "-o", "out"]),
        (model_card.main, ["missing", "missing.fer", "damaged", "out"]),
        (group_card.main, ["missing", "missing.fer", "damaged", "damaged", "out"]),
        (make_composites.main, ["missing", "missing", "out"]),
    ],
)
def test_what_cannot_be_used_is_answered_with_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: click.Command, words: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "damaged" / "a.fer").mkdir(parents=True)
    result = CliRunner().invoke(command, words)
    assert isinstance(result.exception, SystemExit), result.exception
    assert result.exit_code > 1  # 1 is click's, for anything
    assert result.stderr.startswith(f"{command.name}: ")
    assert not (tmp_path / "out").exists()
