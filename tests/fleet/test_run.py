"""Runs: equal rows for any number of workers and kills, resuming, workers that die."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from fer_edge import EngineError, InputError
from fer_edge.backends.fake import write_fake_bundle
from fer_edge.fleet import DriveScorer, find_clips, score_drives
from fer_edge.fleet.crew import News
from fer_edge.fleet.processes import Processes
from fer_edge.monitor import Boxes, Settings, WholeFrame

TIMEOUT_S = 120


@pytest.fixture(autouse=True)
def no_worker_is_left() -> Any:
    yield
    until_s = time.monotonic() + 10
    while multiprocessing.active_children() and time.monotonic() < until_s:
        time.sleep(0.01)
    assert multiprocessing.active_children() == []


def tables(out: Path, rows: Any) -> list[Any]:
    singles = []
    for name in ("clips", "drives", "figures"):
        table = pq.read_table(out / f"{name}.parquet")
        columns = [column for column in table.column_names if not column.endswith("_ms")]
        singles.append(table.select(columns).to_pylist())
    return [rows(out, "states"), rows(out, "events"), *singles]


def test_rows_are_equal_for_one_process_and_for_three(
    scorer: DriveScorer, drives: Path, tmp_path: Path, rows: Any
) -> None:
    clips = find_clips([drives])
    runs = {n: score_drives(clips, tmp_path / str(n), scorer, workers=n) for n in (1, 3)}
    for run in runs.values():
        assert run.status == {"ok": 2, "partial": 1, "failed": 1}
        assert [error["clip"] for error in run.errors] == ["a.avi", "b.avi"]
    assert tables(tmp_path / "1", rows) == tables(tmp_path / "3", rows)
    monday, tuesday = runs[1].drives
    assert (monday["drive"], monday["clips"], monday["failed"]) == ("monday", 2, 0)
    assert (tuesday["failed"], tuesday["partial"]) == (1, 1)
    assert 0 < monday["availability"] < 1
    assert monday["missing_s"]["black"] == pytest.approx(10 / 25)
    summary = json.loads((tmp_path / "1" / "summary.json").read_text())
    assert [drive["drive"] for drive in summary["drives"]] == ["monday", "tuesday"]


@pytest.mark.skipif(sys.platform != "linux", reason="names are UTF-8 there")
def test_a_folder_whose_name_is_not_utf8_is_written(
    scorer: DriveScorer, drives: Path, tmp_path: Path
) -> None:
    clips, runs = find_clips([drives]), []
    for name in ("plain", os.fsdecode(b"f\xfcr")):
        for _ in range(2):  # the second run reads what the first one wrote
            run = score_drives(clips, tmp_path / name, scorer, workers=1)
        runs.append(run.as_dict() | {"out": "", "wall_s": 0, "drives": len(run.drives)})
    assert runs[0] == runs[1]


def test_duckdb_and_pandas_read_the_tables_as_they_are(
    scorer: DriveScorer, drives: Path, tmp_path: Path, rows: Any, inline: Any
) -> None:
    out = tmp_path / "out"
    inline(find_clips([drives]), out, scorer)
    count = len(rows(out, "states"))
    states = pd.read_parquet(out / "states")
    assert len(states) == count
    assert set(states["drive"]) == {"monday", "tuesday"}
    query = f"SELECT drive, count(*) FROM '{out}/states/*/*.parquet' GROUP BY drive ORDER BY drive"
    found = duckdb.sql(query).fetchall()
    assert [drive for drive, _ in found] == ["monday", "tuesday"]
    assert sum(number for _, number in found) == count
    query = f"SELECT max(p_neutral) FROM '{out}/states/*/*.parquet'"
    assert duckdb.sql(query).fetchall() == [(pytest.approx(0.9),)]
    query = f"SELECT drive, value FROM '{out}/figures.parquet' WHERE name = 'black'"
    assert duckdb.sql(query).fetchall() == [("monday", pytest.approx(10 / 25))]
    for part in out.rglob("*.parquet"):  # flat columns sort and hash
        table = pd.read_parquet(part)
        pd.util.hash_pandas_object(table.sort_values(list(table.columns)))


def test_a_second_run_scores_what_is_new_or_changed(
    scorer: DriveScorer, drives: Path, tmp_path: Path, write_clip: Callable[..., Path], inline: Any
) -> None:
    out = tmp_path / "out"
    said: list[str] = []
    assert inline(find_clips([drives]), out, scorer).scored == 4
    assert inline(find_clips([drives]), out, scorer, say=said.append).scored == 0
    assert said == ["4 of 4 clips were scored before"]
    write_clip(drives / "tuesday" / "b.avi", 10, seed=9)
    write_clip(drives / "tuesday" / "c.avi", 10, seed=9)
    run = inline(find_clips([drives]), out, scorer)
    assert (run.clips, run.scored, run.status) == (5, 2, {"ok": 4, "partial": 1})


def test_a_clip_that_moves_to_another_drive_leaves_no_rows_behind(
    scorer: DriveScorer, drives: Path, tmp_path: Path, rows: Any, inline: Any
) -> None:
    out, file = tmp_path / "out", drives / "m.csv"
    for drive in ("first", "second"):
        file.write_text(f"path,drive\nmonday/a.avi,{drive}\n")
        run = inline(find_clips([file]), out, scorer)
        assert [one["drive"] for one in run.drives] == [drive]
    assert {row["drive"] for row in rows(out, "states")} == {"second"}
    file.write_text("path,drive\nmonday/b.avi,third\n")
    run = inline(find_clips([file]), out, scorer)
    assert [(one["drive"], one["clips"]) for one in run.drives] == [("second", 1), ("third", 1)]


def test_an_output_of_other_settings_or_of_another_program_is_refused(
    scorer: DriveScorer, drives: Path, tmp_path: Path, inline: Any
) -> None:
    clips = find_clips([drives / "monday" / "a.avi"])
    inline(clips, tmp_path / "out", scorer)
    other = DriveScorer(scorer.bundle, Settings(smooth_s=1.0), detector=WholeFrame())
    (drives / "monday" / "c.avi").write_bytes(b"")
    with pytest.raises(InputError, match="another settings"):
        inline(find_clips([drives / "monday"]), tmp_path / "out", other)
    with pytest.raises(InputError, match="empty folder"):
        inline(clips, drives, scorer)
    with pytest.raises(InputError, match="at least 1 worker"):
        inline(clips, tmp_path / "out", scorer, workers=0)


@pytest.mark.parametrize(
    "wrong", [{"scorer": 0}, {"scorer": "b.fer"}, {"workers": "2"}, {"workers": 1.5}, {"out": 5}]
)
def test_another_type_is_refused(tmp_path: Path, wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="expected "):
        score_drives(**{"clips": [], "out": tmp_path / "out"} | wrong)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("wrong", [[], ["a.mp4"], "drives", "", None, 5], ids=repr)
def test_what_is_no_list_of_clips_is_refused(
    scorer: DriveScorer, tmp_path: Path, wrong: Any
) -> None:
    with pytest.raises(InputError, match=r"clip.*find_clips"):
        score_drives(wrong, tmp_path / "out", scorer, workers=1)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"settings": Settings(smooth_s=1.0)}, "settings"),
        ({"every_s": 0.5}, "every_s"),
        ({"bundle": "other"}, "bundle_sha256"),
        ({"detector": Boxes(lambda image: [])}, "detector"),
        ({"detector": None}, "detector"),
        ({"precision": "int8"}, "variant"),
        ({"against": "other"}, "against"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_finished_folder_answers_for_no_other_run(
    scorer: DriveScorer,
    drives: Path,
    tmp_path: Path,
    inline: Any,
    changes: dict[str, Any],
    name: str,
) -> None:
    clips = find_clips([drives / "monday" / "a.avi"])
    inline(clips, tmp_path / "out", scorer)
    other = write_fake_bundle(tmp_path / "other.fer", abstain_below=0.5)
    options = {"bundle": scorer.bundle, "detector": WholeFrame(), **changes}
    options |= {key: other for key, value in options.items() if value == "other"}
    with pytest.raises(InputError, match=f"another {name}"):
        inline(clips, tmp_path / "out", DriveScorer(**options))


def test_a_folder_of_two_bundles_is_no_run_of_other_two(
    scorer: DriveScorer, drives: Path, tmp_path: Path, inline: Any
) -> None:
    clips = find_clips([drives / "monday" / "a.avi"])
    options: dict[str, Any] = {"bundle": scorer.bundle, "detector": WholeFrame()}
    both = DriveScorer(**options, against=scorer.bundle)
    inline(clips, tmp_path / "out", both)
    assert inline(clips, tmp_path / "out", both).scored == 0
    third = write_fake_bundle(tmp_path / "third.fer", abstain_below=0.5)
    for against in ({}, {"against": third}, {"against": scorer.bundle, "against_target": "qnn"}):
        with pytest.raises(InputError, match="another against"):
            inline(clips, tmp_path / "out", DriveScorer(**options, **against))


def test_a_line_that_a_killed_process_left_unfinished_is_scored_again(
    scorer: DriveScorer, drives: Path, tmp_path: Path, rows: Any, inline: Any
) -> None:
    clips, out = find_clips([drives]), tmp_path / "out"
    inline(clips, out, scorer)
    before = tables(out, rows)
    journal = out / "done.jsonl"
    journal.write_bytes(journal.read_bytes()[:-20])
    assert inline(clips, out, scorer).scored == 1
    assert tables(out, rows) == before
    assert journal.read_bytes().count(b"\n") == 4


class KillOnce:
    """Detector whose process gets SIGKILL at its first frames, until a marker says enough."""

    def __init__(self, folder: Path, times: int) -> None:
        self.folder, self.times = folder, times

    def detect(self, image: np.ndarray) -> list[Any]:
        kills = len(list(self.folder.iterdir()))
        if kills < self.times:
            (self.folder / str(kills)).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return WholeFrame().detect(image)


def test_killed_workers_change_no_row(
    fake_bundle: Path, drives: Path, tmp_path: Path, rows: Any, inline: Any
) -> None:
    clips = find_clips([drives / "monday"])
    (tmp_path / "kills").mkdir()
    killed = DriveScorer(fake_bundle, detector=KillOnce(tmp_path / "kills", 2))
    plain = DriveScorer(fake_bundle, detector=KillOnce(tmp_path / "kills", 0))
    inline(clips, tmp_path / "plain", plain)
    run = score_drives(clips, tmp_path / "killed", killed, workers=2)
    assert run.status == {"ok": 2}
    assert len(list((tmp_path / "kills").iterdir())) == 2
    assert tables(tmp_path / "killed", rows) == tables(tmp_path / "plain", rows)


def test_a_worker_that_starts_survives_ctrl_c(scorer: DriveScorer, tmp_path: Path) -> None:
    team = Processes(scorer, tmp_path)
    try:
        worker = team.start()
        (process,) = multiprocessing.active_children()
        until_s = time.monotonic() + TIMEOUT_S
        news: list[News] = []
        while not news and time.monotonic() < until_s:
            os.kill(process.pid or 0, signal.SIGINT)
            news += team.wait(0.05)
        assert [(one.worker, one.kind) for one in news] == [(worker, "ready")]
    finally:
        team.close()


class AbortsAtSmall:
    """Detector that crashes as native code does, at frames of 48 px."""

    def detect(self, image: np.ndarray) -> list[Any]:
        if image.shape[0] == 48:
            os.abort()
        return WholeFrame().detect(image)


def test_a_clip_that_kills_two_workers_gets_an_error_row_and_stops_nothing(
    fake_bundle: Path, drives: Path, tmp_path: Path, write_clip: Callable[..., Path], rows: Any
) -> None:
    write_clip(drives / "monday" / "bad.avi", size=48)
    scorer = DriveScorer(fake_bundle, detector=AbortsAtSmall())
    run = score_drives(find_clips([drives / "monday"]), tmp_path / "out", scorer, workers=1)
    assert run.status == {"ok": 2, "failed": 1}
    (error,) = run.errors
    assert "twice" in error["error"]
    assert "SIGABRT" in error["error"]
    errors = [row for row in rows(tmp_path / "out", "states") if row["error"]]
    assert [(row["clip"], row["error"]) for row in errors] == [("bad.avi", error["error"])]


def test_a_bundle_whose_engine_crashes_ends_the_run(drives: Path, tmp_path: Path) -> None:
    bundle = write_fake_bundle(tmp_path / "crash.fer", crash=True)
    scorer = DriveScorer(bundle, detector=WholeFrame())
    with pytest.raises(EngineError, match="workers failed as they started"):
        score_drives(find_clips([drives]), tmp_path / "out", scorer, workers=2)


def test_a_bundle_that_cannot_be_loaded_is_named(damaged: Path, tmp_path: Path) -> None:
    from fer_edge import BundleError

    scorer = DriveScorer(damaged, detector=WholeFrame())
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / "a.avi").touch()
    with pytest.raises(BundleError):
        score_drives(find_clips([tmp_path / "t"]), tmp_path / "out", scorer, workers=2)


@pytest.fixture
def damaged(fake_bundle: Path) -> Path:
    (fake_bundle / "fake-fp32" / "answers.json").write_bytes(b"{}")
    return fake_bundle


def test_a_killed_driver_leaves_no_process_and_a_folder_that_goes_on(
    drives: Path, tmp_path: Path, write_clip: Callable[..., Path], rows: Any, inline: Any
) -> None:
    for number in range(6):
        write_clip(drives / "friday" / f"{number}.avi", 15, seed=number)
    bundle = write_fake_bundle(tmp_path / "slow.fer", latency_ms=8)
    out = tmp_path / "out"
    arguments = [str(drives), "-o", str(out), "--bundle", str(bundle), "--whole-frame"]
    command = [sys.executable, "-m", "fer_edge", "score", *arguments, "--workers", "2"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until_s = time.monotonic() + TIMEOUT_S
        journal = out / "done.jsonl"
        while not journal.exists() and time.monotonic() < until_s:
            time.sleep(0.02)
        workers = _children(process.pid)
    finally:
        process.kill()
        process.wait(TIMEOUT_S)
    assert journal.exists()
    while any(map(_alive, workers)) and time.monotonic() < until_s:
        time.sleep(0.02)
    assert not any(map(_alive, workers))
    scorer = DriveScorer(bundle, detector=WholeFrame())
    run = inline(find_clips([drives]), out, scorer)
    assert run.scored < run.clips == 10
    inline(find_clips([drives]), tmp_path / "plain", scorer)
    assert tables(out, rows) == tables(tmp_path / "plain", rows)


def _children(pid: int) -> list[int]:
    try:
        return [int(n) for n in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:  # no such list on this system
        return []


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False
