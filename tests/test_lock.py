"""Processes that change the same folder wait for one another, and a killed one blocks nobody."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from fer_edge.child import python_command
from fer_edge.lock import locked

ADD = """
import sys
from pathlib import Path
from fer_edge.lock import locked
counter = Path(sys.argv[1])
for _ in range(200):
    with locked(counter):
        counter.write_text(str(int(counter.read_text()) + 1))
"""
HOLD = """
import sys, time
from pathlib import Path
from fer_edge.lock import locked
with locked(Path(sys.argv[1])):
    print("locked", flush=True)
    time.sleep(600)
"""


def test_no_change_is_lost(tmp_path: Path) -> None:
    counter = tmp_path / "counter"
    counter.write_text("0")
    children = [subprocess.Popen(python_command("-c", ADD, str(counter))) for _ in range(3)]
    assert [child.wait(timeout=60) for child in children] == [0, 0, 0]
    assert counter.read_text() == "600"
    if sys.platform != "win32":
        assert [path.name for path in tmp_path.iterdir()] == ["counter"]


@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
def test_a_killed_process_leaves_no_lock(tmp_path: Path) -> None:
    final = tmp_path / "x"
    child = subprocess.Popen(python_command("-c", HOLD, str(final)), stdout=subprocess.PIPE)
    assert child.stdout is not None
    assert child.stdout.readline() == b"locked\n"
    child.kill()
    child.wait()
    with locked(final):
        pass


@pytest.mark.skipif(os.name != "posix", reason="Windows locks a file")
def test_a_file_system_that_locks_no_folders_gets_a_lock_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fcntl
    import stat

    flock = fcntl.flock

    def as_on_nfs(handle: int, operation: int) -> None:
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(9, "Bad file descriptor")
        flock(handle, operation)

    monkeypatch.setattr(fcntl, "flock", as_on_nfs)
    with locked(tmp_path / "x.fer"):
        assert (tmp_path / ".x.fer.lock").exists()


def test_a_folder_that_is_not_there_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"), locked(tmp_path / "no/x.fer"):
        pass


def test_a_lock_that_is_taken_is_not_waited_for(tmp_path: Path) -> None:
    with locked(tmp_path / "a"), pytest.raises(BlockingIOError), locked(tmp_path / "a", wait=False):
        pass
    with locked(tmp_path / "a", wait=False):
        pass


def test_a_forked_child_does_not_keep_the_lock(
    tmp_path: Path, ends_in_a_fork: Callable[[Callable[[], object]], bool]
) -> None:
    """Nor does a child that leaves the block release the lock of its parent."""

    def leave(lock: AbstractContextManager[None]) -> None:
        lock.__exit__(None, None, None)
        with pytest.raises(BlockingIOError), locked(tmp_path / "a", wait=False):
            pass

    lock = locked(tmp_path / "a")
    lock.__enter__()
    assert ends_in_a_fork(lambda: leave(lock))
    end, keep = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(keep)
        os.read(end, 1)  # until the parent is done, or has ended
        os._exit(0)
    try:
        lock.__exit__(None, None, None)
        with locked(tmp_path / "a", wait=False):
            pass
    finally:
        os.close(keep)
        os.close(end)
        os.waitpid(child, 0)
