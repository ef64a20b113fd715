"""Command lines of the cards: input that cannot be used is answered with a sentence."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from fer_edge.training import make_composites
from fer_edge.training.reports import group_card, model_card


@pytest.mark.parametrize(
    ("command", "count"),
    [(model_card.main, 4), (group_card.main, 5), (make_composites.main, 3)],
)
def test_paths_that_are_missing_are_answered_with_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: click.Command, count: int
) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(command, [f"missing-{n}" for n in range(count)])
    assert isinstance(result.exception, SystemExit), result.exception
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: ")
    assert not list(tmp_path.iterdir())
