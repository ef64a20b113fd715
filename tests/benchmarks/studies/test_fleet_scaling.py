"""Cost of ``fer-edge score``: figures of known seconds, and the command."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from fer_edge.benchmarks.studies import fleet_scaling as fleet


def test_overheads_and_speed_ups_of_known_seconds() -> None:
    seconds = {
        "plain": (10.0, 12.0),
        "in process": (10.2, 9.0),
        "1 worker": (10.5, 12.6),
        "2 workers": (5.25, 12.0),
    }
    plain, inside, one, two = fleet.rows(seconds)
    assert (plain["overhead"], plain["speed_up"], plain["cpu_overhead"]) == (None, None, None)
    assert (inside["overhead"], inside["speed_up"]) == (pytest.approx(0.02), None)
    assert (one["overhead"], one["speed_up"]) == (pytest.approx(0.05), 1.0)
    assert (two["overhead"], two["speed_up"]) == (None, 2.0)
    assert [way["cpu_overhead"] for way in (inside, one, two)] == pytest.approx([-0.25, 0.05, 0.0])


def test_each_way_is_measured(clip: Path, fake_bundle: Path) -> None:
    arguments = [str(clip), "--whole-frame", "--bundle", str(fake_bundle)]
    done = CliRunner().invoke(fleet.main, [*arguments, "--workers", "1", "--rounds", "1", "--json"])
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    assert [row["way"] for row in report["rows"]] == ["plain", "in process", "1 worker"]
    assert all(row["wall_s"] > 0 for row in report["rows"])
    assert "| 1 worker |" in fleet.table(report)


def test_numbers_that_are_none_are_wrong_usage(clip: Path) -> None:
    assert CliRunner().invoke(fleet.main, [str(clip), "--workers", "many"]).exit_code == 2
