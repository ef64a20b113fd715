"""Cost of a monitor: figures of known states, and the command."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from fer_edge.benchmarks.studies import monitor_cost as monitor
from fer_edge.monitor import MonitorState


def state(index: int, **times_ms: float) -> MonitorState:
    return MonitorState(index, index / 30, 2.0 + index % 2, times_ms=times_ms)


def test_figures_of_known_states() -> None:
    detect: list[dict[str, float]] = [{"detect": 3.0}, {}, {}]
    states = [state(k, predict=6.0, total=10.0, **detect[k % 3]) for k in range(90)]
    row = monitor.figures(states, 120, wall_s=3.0, cpu_s=1.5)
    assert (row["answered"], row["dropped"], row["answered_hz"]) == (90, 30, 30)
    assert row["stages"] == pytest.approx({"detect": 0.1, "predict": 0.6, "other": 0.3})
    assert row["ms_per_frame"] == pytest.approx(10)
    assert row["cpu_share"] == 0.5
    assert row["p50_ms"] == pytest.approx(2.5)
    assert row["p99_ms"] is None
    assert row["missing"]["p99_ms"] == 662 - 90


def test_a_monitor_is_measured_at_full_speed_and_behind_a_camera(
    clip: Path, fake_bundle: Path
) -> None:
    arguments = [str(clip), "--whole-frame", "--bundle", str(fake_bundle), "--hz", "500"]
    done = CliRunner().invoke(monitor.main, [*arguments, "--frames", "30", "--load", "--json"])
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    states = [row["state"] for row in report["rows"]]
    assert states == ["full speed", "camera", "camera, loaded"]
    full, *cameras = report["rows"]
    assert (full["answered"], full["dropped"]) == (30, 0)
    for row in report["rows"]:
        assert row["variant"] == "fake/fp32"
        assert 0 < row["answered"] + row["dropped"] == 30
        assert sum(row["stages"].values()) == pytest.approx(1)
        assert row["answered_hz"] > 0
    assert all(row["hz"] == 500 for row in cameras)
    text = monitor.table(report)
    assert "| camera, 500 Hz |" in text
    assert "n/a (" in text
