"""SIGTERM ends a command in order: nothing stays among the temporary files."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np
import psutil
import pytest

from fer_edge.cli.sigterm import TERMINATED, orderly_end
from fer_edge.monitor.recorder import VideoRecorder

pytestmark = pytest.mark.skipif(os.name != "posix", reason="Windows sends no SIGTERM")

BEGIN = """
import os, signal, subprocess, sys, tempfile, threading, time
import click
from fer_edge.cli import main
from fer_edge.cli import sigterm

@main.command()
def work():
    print("begun", flush=True)
    with tempfile.TemporaryDirectory():
"""
END = """
main(["work"])
"""
SLEEP = """
        subprocess.run([sys.executable, "-c", "import time; time.sleep(600)"])
"""
STUCK = """
        sigterm._GRACE_S = 0.2
        threading.Thread(target=lambda: time.sleep(600)).start()
        time.sleep(600)
"""
FORK = """
        if (child := os.fork()) == 0:
            time.sleep(600)
        time.sleep(0.1)
        os.kill(child, signal.SIGTERM)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


VIDEO = """
import os, signal, sys
from fer_edge.cli import main
from fer_edge.monitor.recorder import VideoRecorder

write = VideoRecorder.write

def write_five(self, *frame):
    write(self, *frame)
    if self.frames == 5:
        os.kill(os.getpid(), signal.SIGTERM)

VideoRecorder.write = write_five
main(sys.argv[1:])
"""


def begun(body: str, temporary: Path) -> subprocess.Popen[str]:
    environment = {**os.environ, "TMPDIR": str(temporary)}
    command = [sys.executable, "-c", BEGIN + body + END]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    return process


@pytest.mark.parametrize("body", [SLEEP, STUCK], ids=["a child", "a thread that stays"])
def test_it_removes_the_temporary_files(tmp_path: Path, body: str) -> None:
    process = begun(body, tmp_path)
    while not list(tmp_path.iterdir()):
        assert process.poll() is None
        time.sleep(0.01)
    process.terminate()
    assert process.wait(60) == TERMINATED
    assert list(tmp_path.iterdir()) == []


def test_a_video_that_is_being_recorded_is_kept(fake_bundle: Path, tmp_path: Path) -> None:
    source, drawn, events = tmp_path / "a.mp4", tmp_path / "b.mp4", tmp_path / "c.jsonl"
    rng = np.random.default_rng(0)
    with VideoRecorder(source, 30) as recorder:
        for number in range(30):
            recorder.write(rng.integers(0, 256, (64, 64, 3), np.uint8), number / 30)
    options = ["--bundle", str(fake_bundle), "--whole-frame", "--quiet", "--save", str(drawn)]
    command = [sys.executable, "-c", VIDEO, "video", str(source), *options, "--events", str(events)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == TERMINATED, done.stderr
    assert f"saved:  {drawn}, 5 frames" in done.stdout
    capture = cv2.VideoCapture(str(drawn))
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == 5
    capture.release()
    assert sorted(tmp_path.glob("[abc.]*.*")) == [source, drawn, events]


def test_a_measured_process_ends_with_the_command(fake_bundle: Path) -> None:
    options = ["--scenario", "memory", "--budget-s", "600", "--batch-sizes", "1", "--quiet"]
    command = [sys.executable, "-m", "fer_edge", "bench", str(fake_bundle), *options]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not (children := measured(process.pid)):
        assert process.poll() is None
        time.sleep(0.01)
    process.terminate()
    assert process.wait(60) == TERMINATED
    assert not any(child.is_running() for child in children)


def measured(parent: int) -> list[psutil.Process]:
    """Processes of the scenario ``memory`` below a command."""
    found = []
    for child in psutil.Process(parent).children():
        with suppress(psutil.Error):  # another child may have ended meanwhile
            if "fer_edge.benchmarks.scenarios.memory" in child.cmdline():
                found.append(child)
    return found


def test_a_fork_ends_at_once(tmp_path: Path) -> None:
    with begun(FORK, tmp_path) as process:
        assert process.stdout is not None
        assert int(process.stdout.read()) == -signal.SIGTERM
    assert process.returncode == 0


def test_somebody_elses_handler_stays() -> None:
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        with orderly_end():
            assert signal.getsignal(signal.SIGTERM) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTERM, before)


def test_the_handler_is_gone_after_the_command() -> None:
    with orderly_end():
        assert signal.getsignal(signal.SIGTERM) != signal.SIG_DFL
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
