"""``fer-edge score``: tables, summary, refusals and exit codes."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

from fer_edge.cli import main
from fer_edge.fleet.journal import DONE


@pytest.fixture
def drive(tmp_path: Path) -> Path:
    """A drive of one clip and of a file that is none."""
    folder = tmp_path / "tour"
    folder.mkdir()
    writer = cv2.VideoWriter(str(folder / "a.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 25, (64, 64))
    rng = np.random.default_rng(0)
    for _ in range(25):
        writer.write(rng.integers(0, 256, (64, 64, 3), np.uint8))
    writer.release()
    (folder / "b.avi").write_text("no video")
    return folder


@pytest.fixture
def run(run: Callable[..., Result], fake_bundle: Path) -> Callable[..., Result]:
    return lambda *arguments: run("score", "--bundle", fake_bundle, "--whole-frame", *arguments)


def test_a_drive_becomes_tables_and_a_summary(run: Any, drive: Path, tmp_path: Path) -> None:
    done = run(drive / "a.avi", "-o", "out", "--workers", 1, "--json", "--every", "0.2s")
    assert done.exit_code == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["clips"], report["scored"], report["ok"], report["failed"]) == (1, 1, 1, 0)
    (tour,) = report["drives"]
    assert tour["drive"] == "tour"
    assert tour["stream_s"] == pytest.approx(1.0)
    (part,) = (tmp_path / "out" / "states").rglob("*.parquet")
    assert 5 <= pq.read_metadata(part).num_rows <= 10
    assert pq.read_metadata(tmp_path / "out" / "drives.parquet").num_rows == 1


def test_a_damaged_line_of_the_journal_is_said_beside_the_summary(
    run: Any, drive: Path, tmp_path: Path
) -> None:
    arguments = drive / "a.avi", "-o", "out", "--workers", 1, "--json"
    assert "WARNING" not in run(*arguments).stderr
    journal = tmp_path / "out" / DONE
    journal.write_bytes(b"{}\n" + journal.read_bytes())
    again = run(*arguments)
    assert f"WARNING line 1 of {journal} is damaged" in again.stderr
    assert json.loads(again.stdout)["clips"] == 1


def test_a_clip_with_a_fault_stops_nothing_and_shows_in_the_exit_code(
    run: Any, drive: Path
) -> None:
    done = run(drive, "-o", "out", "--workers", 1)
    assert done.exit_code == 3
    assert "tour: 2 clips" in done.stdout
    assert "tour/b.avi failed" in done.stderr
    assert "1 of 2 clips had a fault" in done.stderr
    again = run(drive, "-o", "out", "--workers", 1)
    assert again.exit_code == 3
    assert "2 of 2 clips were scored before" in again.stderr


def test_a_detector_that_is_missing_is_told_in_a_folder_of_before(
    run: Any, drive: Path, fake_bundle: Path
) -> None:
    assert run(drive / "a.avi", "-o", "out", "--workers", 1).exit_code == 0
    arguments = ["score", str(drive / "a.avi"), "--bundle", str(fake_bundle), "-o", "out"]
    done = CliRunner().invoke(main, [*arguments, "--detector", "missing.onnx"])
    assert done.exit_code == 3
    assert "missing.onnx" in done.stderr
    assert "fer-edge detector fetch" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["missing.mp4", "-o", "out"], 3),
        (["tour", "-o", "tour"], 3),
        (["tour", "-o", "out", "--every", "soon"], 3),
        (["tour", "-o", "out", "--settings", "no.json"], 3),
        (["tour", "-o", "out", "--detector", "yunet.onnx"], 2),
        (["tour", "-o", "out", "--workers", "0"], 2),
        (["tour"], 2),
        (["-o", "out"], 2),
    ],
)
def test_what_cannot_be_scored_is_refused(
    run: Any, drive: Path, arguments: list[str], code: int
) -> None:
    done = run(*arguments)
    assert done.exit_code == code, done.output
    assert done.stdout == ""
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("library", ["pyarrow", "matplotlib", "ray"])
def test_a_library_that_is_missing_is_named_before_the_work(
    run: Any, drive: Path, monkeypatch: pytest.MonkeyPatch, library: str, tmp_path: Path
) -> None:
    module = sys.modules["fer_edge.cli.score"]
    find = module.find_spec
    monkeypatch.setattr(module, "find_spec", lambda name: None if name == library else find(name))
    done = run(drive, "-o", "out", "--ray")
    assert done.exit_code == 5
    assert f"{library} is required" in done.stderr
    assert "fer-edge[fleet]" in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_detector_that_is_missing_is_named(
    run: Any, drive: Path, fake_bundle: Path, tmp_path: Path
) -> None:
    from click.testing import CliRunner

    from fer_edge.cli import main

    arguments = ["score", str(drive), "-o", "out", "--detector", "no.onnx", "--workers", "1"]
    done = CliRunner().invoke(main, [*arguments, "--bundle", str(fake_bundle)])
    assert done.exit_code == 3
    assert "no.onnx" in done.stderr


def test_a_second_bundle_that_differs_ends_with_8(run: Any, drive: Path, tmp_path: Path) -> None:
    from fer_edge.backends.fake import write_fake_bundle

    angry = write_fake_bundle(tmp_path / "angry.fer", {"anger": 0.9})
    for number in range(5):
        folder = tmp_path / "many" / str(number)
        folder.mkdir(parents=True)
        (folder / "a.avi").symlink_to(drive / "a.avi")
    done = run("many", "-o", "out", "--workers", 1, "--against", angry, "--json")
    assert done.exit_code == 8, done.stderr
    against = json.loads(done.stdout)["against"]
    assert against["verdict"] == "different"
    assert against["figures"]["different"]["interval"] == [1.0, 1.0]
    assert "the second bundle differs" in done.stderr
