"""Signals of the application: files, faults, and alerts of a clip."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fer_edge import InputError
from fer_edge.fleet import DriveScorer, find_clips
from fer_edge.fleet.rules import Sample
from fer_edge.fleet.signals import read_signals, sample_of
from fer_edge.monitor import MonitorState, PersonState


def test_csv_and_parquet_give_the_newest_sample(tmp_path: Path) -> None:
    lines = ["time_s,away,eyes_open,speed_kmh,note", "0.0,false,0.9,,x", "1.0,1,,52,y"]
    (tmp_path / "s.csv").write_text("\n".join(lines))
    table = pa.table(
        {
            "time_s": [0.0, 1.0],
            "away": [False, True],
            "eyes_open": [0.9, float("nan")],
            "speed_kmh": [None, 52],
        }
    )
    pq.write_table(table, tmp_path / "s.parquet")
    for name in ("s.csv", "s.parquet"):
        signals = read_signals(str(tmp_path / name))
        assert signals.at(-0.1) == Sample(-0.1)
        assert signals.at(0.3) == Sample(0.3, away=False, eyes_open=0.9)
        assert signals.at(0.7) == Sample(0.7)  # too old
        assert signals.at(1.2) == Sample(1.2, away=True, speed_kmh=52.0)


@pytest.mark.parametrize(
    "line",
    ["x,,,", ",,,", "1e300,,,", "nan,,,", "3,maybe,,", "3,,1.1,", "3,,-0.1,", "3,,,1e9", "0.5,,,"],
)
def test_a_row_that_is_wrong_is_named(tmp_path: Path, line: str) -> None:
    (tmp_path / "s.csv").write_text(f"time_s,away,eyes_open,speed_kmh\n1,,,\n{line}\n")
    with pytest.raises(InputError, match="row 3"):
        read_signals(str(tmp_path / "s.csv"))


def driver(cause: Any, label: str | None = None) -> MonitorState:
    person = PersonState(1, (0, 0, 9, 9), label, 0.5, None, None, cause, True, 0, 0, None)
    return MonitorState(0, 2.0, 0.0, (person,))


def test_without_signals_a_turned_head_looks_away() -> None:
    assert sample_of(driver("turned away"), None, 60.0) == Sample(2.0, away=True, speed_kmh=60.0)
    assert sample_of(driver(None, "neutral"), None, None) == Sample(2.0, away=False)
    assert sample_of(driver("covered"), None, None) == Sample(2.0)
    assert sample_of(MonitorState(0, 2.0, 0.0), None, None) == Sample(2.0)


@pytest.fixture
def drive(tmp_path: Path, write_clip: Callable[..., Path]) -> Path:
    """Manifest of a clip of 8 s: away from 1 s to 6 s, eyes closed from 3 s on, at 60 km/h."""
    write_clip(tmp_path / "t" / "a.avi", 200)
    lines = [
        f"{t:.2f},{1 <= t < 6},{0.0 if t >= 3 else 1.0}" for t in np.arange(0, 8, 0.1).tolist()
    ]
    (tmp_path / "t/s.csv").write_text("\n".join(["time_s,away,eyes_open", *lines]))
    header = "path,drive,speed_kmh,signals,attentive"
    (tmp_path / "t/m.csv").write_text(f"{header}\na.avi,tour,60,s.csv,yes\n")
    return tmp_path / "t/m.csv"


def test_alerts_of_a_clip_have_their_moments(
    drive: Path, scorer: DriveScorer, tmp_path: Path, rows: Any, inline: Any
) -> None:
    run = inline(find_clips([drive]), tmp_path / "out", scorer)
    alerts = {row["rule"]: row for row in rows(tmp_path / "out", "alerts")}
    moments = {rule: (row["start_s"], row["alert_s"], row["end_s"]) for rule, row in alerts.items()}
    near = pytest.approx
    assert moments == {
        "glance_away": (near(1.0, abs=0.05), near(4.0, abs=0.05), near(6.0, abs=0.05)),
        "addw": (near(1.0, abs=0.05), near(4.5, abs=0.05), near(6.0, abs=0.05)),
        "eyes_closed": (near(3.0, abs=0.05), near(5.0, abs=0.05), None),
    }
    assert {row["source"] for row in alerts.values()} == {"signals"}
    assert {row["false_alert"] for row in alerts.values()} == {True}
    (tour,) = run.drives
    assert tour["alerts"] == {"addw": 1, "eyes_closed": 1, "glance_away": 1}
    assert tour["false_alerts_per_hour"]["addw"] == near(450, rel=0.01)
    assert tour["false_alerts_per_hour"]["shared_attention"] == 0
    assert tour["away_s"] == near(5.0, abs=0.1)
    assert "glance_away" in (tmp_path / "out" / "report.html").read_text()


def test_signals_that_change_or_are_damaged_are_seen(
    drive: Path, scorer: DriveScorer, tmp_path: Path, inline: Any
) -> None:
    out = tmp_path / "out"
    assert inline(find_clips([drive]), out, scorer).scored == 1
    assert inline(find_clips([drive]), out, scorer).scored == 0
    (drive.parent / "s.csv").write_text("time_s\nsoon\n")
    run = inline(find_clips([drive]), out, scorer)
    assert (run.scored, run.status) == (1, {"failed": 1})
    assert "row 2 of the signals" in run.errors[0]["error"]
