"""Worker processes of this machine. One that dies takes no other with it."""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any, NoReturn

from fer_edge import errors
from fer_edge.cores import usable_cores
from fer_edge.errors import EngineError, FerEdgeError, InputError
from fer_edge.fleet.clips import Clip
from fer_edge.fleet.crew import News
from fer_edge.fleet.remote import is_address
from fer_edge.fleet.scorer import DriveScorer
from fer_edge.shown import first_line, shown

_BEAT_S = 1.0
_END_S = 5.0
"""Seconds that a worker without work has to end."""


class Processes:
    """Team of processes, started with spawn: engines do not survive a fork.

    The standard library's pool breaks as a whole when one process is killed.

    Args:
        scorer: Pickled into each process.
        out: Output folder.

    Raises:
        InputError: The detector cannot be pickled.
    """

    def __init__(self, scorer: DriveScorer, out: Path) -> None:
        try:
            ForkingPickler.dumps(scorer.detector)
        except Exception as error:  # the detector's own code may raise anything
            raise InputError(
                f"expected a detector that can be pickled, got {shown(scorer.detector)}: "
                f"{first_line(error)}. Pass YuNet's file, or give its class __reduce__"
            ) from error
        self.size = usable_cores()
        self._scorer, self._out = scorer, out
        self._context = multiprocessing.get_context("spawn")
        self._workers: dict[int, tuple[SpawnProcess, Connection]] = {}
        self._copies: dict[int, str] = {}
        """Folder of each worker's copies, removed here: a worker may be killed."""
        self._count = 0
        self._oom_kills = _oom_kills()

    def start(self) -> int:
        """Start a process and return its number. Raises EngineError if there is no room for it."""
        try:
            ours, theirs = self._context.Pipe()
            process = self._context.Process(
                target=_work, args=(theirs, self._scorer, str(self._out)), daemon=True
            )
            with _interrupts_blocked():
                process.start()
        except OSError as error:
            raise EngineError(
                f"worker {self._count + 1} does not start: {error.strerror or error}. Start fewer: "
                "--workers 1"
            ) from error
        theirs.close()
        self._count += 1
        self._workers[self._count] = process, ours
        return self._count

    def give(self, worker: int, clip: Clip) -> None:
        """Let a process score a clip. If it is dead, ``wait`` reports that.

        Raises:
            OSError: The temporary folder is full.
        """
        if is_address(clip.path) and worker not in self._copies:
            self._copies[worker] = tempfile.mkdtemp(prefix="fer_edge-")
        try:
            self._workers[worker][1].send((clip, self._copies.get(worker)))
        except OSError:
            return

    def wait(self, timeout_s: float) -> Sequence[News]:
        """Return the messages and deaths."""
        handles: dict[Any, int] = {}
        for worker, (process, pipe) in self._workers.items():
            handles[process.sentinel] = handles[pipe] = worker
        news: list[News] = []
        for worker in sorted({handles[handle] for handle in wait(list(handles), timeout_s)}):
            process, pipe = self._workers[worker]
            news += _messages(worker, pipe)
            if not process.is_alive():
                news += _messages(worker, pipe)
                news.append(self._death(worker))
        return news

    def kill(self, worker: int) -> None:
        """Kill a process and wait for its end."""
        process, pipe = self._workers.pop(worker)
        process.kill()
        process.join(_END_S)
        pipe.close()
        self._remove_copies(worker)

    def close(self) -> None:
        """End the processes; those that are at work are killed."""
        for _, pipe in self._workers.values():
            try:
                pipe.send(None)
            except OSError:
                continue
        until_s = time.monotonic() + _END_S
        for worker, (process, _) in list(self._workers.items()):
            process.join(max(until_s - time.monotonic(), 0.0))
            self.kill(worker)

    def _remove_copies(self, worker: int) -> None:
        if (folder := self._copies.pop(worker, None)) is not None:
            shutil.rmtree(folder, ignore_errors=True)

    def _death(self, worker: int) -> News:
        process, pipe = self._workers.pop(worker)
        process.join(_END_S)
        pipe.close()
        self._remove_copies(worker)
        code = process.exitcode or 0
        before, self._oom_kills = self._oom_kills, _oom_kills()
        if code == -signal.SIGKILL and self._oom_kills > before:
            return News(worker, "dead", "the system killed the worker: out of memory")
        if code < 0:
            name = signal.Signals(-code).name if -code in list(signal.Signals) else str(-code)
            return News(worker, "dead", f"the worker died of {name}", code == -signal.SIGKILL)
        return News(worker, "dead", f"the worker ended with exit code {code}")


@contextlib.contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """Keep Ctrl-C from processes that start here; they inherit the mask. The parent decides."""
    if sys.platform == "win32":
        yield
        return
    resource_tracker.ensure_running()  # as it starts, it lets the signal through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _messages(worker: int, pipe: Connection) -> list[News]:
    """Return the messages in a pipe. Raises the FerEdgeError that a worker reports."""
    news = []
    try:
        while pipe.poll():
            kind, value = pipe.recv()
            if kind == "broken":
                raise _rebuilt(*value)
            news.append(News(worker, kind, value))
    except (EOFError, OSError):
        pass
    return news


def _rebuilt(name: str, text: str) -> FerEdgeError:
    kind = getattr(errors, name, EngineError)
    if kind is errors.MissingDependencyError:  # takes other arguments
        kind = errors.TargetError
    error: FerEdgeError = kind(text)
    return error


def _oom_kills() -> int:
    """Return how many processes the kernel has killed for memory; 0 if unknown."""
    try:
        for line in Path("/proc/vmstat").read_text("ascii").splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    except (OSError, ValueError):
        pass
    return 0


_copies: list[str | None] = []
"""Folder of this worker's copies."""


def _work(pipe: Connection, scorer: DriveScorer, out: str) -> None:
    """Score clips until the pipe gives None or breaks."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    prepare_worker()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        pipe.send(("ready", scorer.identity()))
    except FerEdgeError as error:
        pipe.send(("broken", (type(error).__name__, str(error))))
        return
    try:
        for clip, copies in iter(pipe.recv, None):
            # Set for the process: what a decoder leaves there is removed with the copies.
            _copies[:], tempfile.tempdir = [copies], copies
            pipe.send(("done", scorer.score(clip, out, Beat(pipe))))
    except OSError as error:
        try:
            pipe.send(("broken", ("InputError", f"cannot write {out}: {error}. Free space")))
        except OSError:
            _end_alone()
    except EOFError:
        _end_alone()


class Beat:
    """Sign of life, at most once a second."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self._sent_s = time.monotonic()

    def __call__(self, frames: int) -> None:
        """Send it, if the last one is a second old."""
        if (now_s := time.monotonic()) - self._sent_s < _BEAT_S:
            return
        self._sent_s = now_s
        try:
            self._pipe.send(("beat", frames))
        except OSError:
            _end_alone()


def prepare_worker() -> None:
    """Keep native libraries from printing into the command's output."""
    logging.getLogger("fer_edge").addHandler(logging.NullHandler())
    # A service may have no such stream.
    with contextlib.suppress(AttributeError, OSError, ValueError):
        os.dup2(sys.__stderr__.fileno(), 1)  # type: ignore[union-attr]


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        _end_alone()


def _end_alone() -> NoReturn:
    """End this worker, whose parent is gone. No part file of its clip may appear."""
    for folder in filter(None, _copies):
        shutil.rmtree(folder, ignore_errors=True)
    os._exit(1)
