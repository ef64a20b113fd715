"""Processes of this machine that cannot start, and what those that are killed leave."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from multiprocessing.context import SpawnContext, SpawnProcess
from pathlib import Path
from typing import Any

import pytest

from fer_edge import EngineError, InputError
from fer_edge.backends.fake import write_fake_bundle
from fer_edge.fleet import DriveScorer, find_clips, score_drives
from fer_edge.fleet.processes import Processes
from fer_edge.monitor import Boxes, WholeFrame

TIMEOUT_S = 120


def until(holds: Callable[[], object]) -> bool:
    """Wait for something, and return False if it does not come."""
    until_s = time.monotonic() + TIMEOUT_S
    while not (held := bool(holds())) and time.monotonic() < until_s:
        time.sleep(0.02)
    return held


def test_a_detector_that_cannot_be_pickled_is_named(
    fake_bundle: Path, drives: Path, tmp_path: Path
) -> None:
    scorer = DriveScorer(fake_bundle, detector=Boxes(lambda image: [(0, 0, 64, 64)]))
    with pytest.raises(InputError, match=r"detector that can be pickled, got .*Boxes"):
        score_drives(find_clips([drives]), tmp_path / "out", scorer, workers=1)


@pytest.fixture
def slow_bundle(tmp_path: Path) -> Path:
    return write_fake_bundle(tmp_path / "slow.fer", latency_ms=200)


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


def test_a_worker_that_is_killed_leaves_no_copy(
    slow_bundle: Path, drives: Path, temporary: Path, tmp_path: Path
) -> None:
    """The watchdog kills workers, and so does Ctrl-C."""
    team = Processes(DriveScorer(slow_bundle, detector=WholeFrame()), tmp_path / "out")
    try:
        for end in (team.kill, lambda worker: team.close()):
            worker = team.start()
            assert until(lambda: [news.kind for news in team.wait(0.1)] == ["ready"])
            team.give(worker, find_clips([f"file://{drives}/monday/a.avi"])[0])
            assert until(lambda: list(temporary.rglob("clip.avi")))
            end(worker)
            assert list(temporary.iterdir()) == []
    finally:
        team.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=lambda one: one.name)
def test_a_command_that_is_killed_leaves_no_copy(
    slow_bundle: Path, drives: Path, temporary: Path, tmp_path: Path, number: int
) -> None:
    arguments = [f"file://{drives}/monday", "-o", str(tmp_path / "out"), "--workers", "1"]
    options = ["--bundle", str(slow_bundle), "--whole-frame"]
    command = subprocess.Popen(
        [sys.executable, "-m", "fer_edge", "score", *arguments, *options],
        env={**os.environ, "TMPDIR": str(temporary)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        assert until(lambda: list(temporary.rglob("clip.avi")))
        command.send_signal(number)
        command.wait(TIMEOUT_S)
    finally:
        command.kill()
        command.wait(TIMEOUT_S)
    assert until(lambda: not list(temporary.glob("fer_edge-*")))


@pytest.mark.parametrize(
    ("owner", "name", "code"),
    [(SpawnContext, "Pipe", errno.EMFILE), (SpawnProcess, "start", errno.EAGAIN)],
    ids=["no more files", "no more processes"],
)
def test_a_machine_without_room_for_a_worker_blames_no_folder(
    scorer: DriveScorer,
    drives: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    owner: type,
    name: str,
    code: int,
) -> None:
    def refuses(*_: Any) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(owner, name, refuses)
    with pytest.raises(EngineError, match=f"{os.strerror(code)}. .*--workers 1"):
        score_drives(find_clips([drives]), tmp_path / "out", scorer, workers=2)
