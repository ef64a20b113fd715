"""Monitors and threads that end before the interpreter does.

A daemon thread that is inside OpenCV or an engine while the interpreter ends aborts the process:
its exit code becomes that of SIGABRT.
"""

from __future__ import annotations

import atexit
import os
import threading
import time
from contextlib import suppress
from typing import Protocol
from weakref import WeakSet

_EXIT_S = 2.5
"""Seconds that the interpreter waits for its monitor threads. A network camera's read takes 2 s."""


class Closable(Protocol):
    """Object with a ``close`` that stops its threads."""

    def close(self) -> None: ...


_open: WeakSet[Closable] = WeakSet()
_threads: WeakSet[threading.Thread] = WeakSet()


def close_at_exit(monitor: Closable) -> None:
    """Close this monitor when the interpreter ends, if it still exists."""
    _open.add(monitor)


def join_at_exit(thread: threading.Thread) -> None:
    """Wait for this thread when the interpreter ends."""
    _threads.add(thread)


def leave_at_exit(thread: threading.Thread) -> None:
    """Do not wait for this thread: it hangs."""
    _threads.discard(thread)


def _end() -> None:
    for monitor in list(_open):
        with suppress(Exception):  # the program's own exit code counts
            monitor.close()
    until_s = time.monotonic() + _EXIT_S
    for thread in list(_threads):
        thread.join(max(until_s - time.monotonic(), 0.0))


def _forget() -> None:
    """Drop the threads of a forked process's parent, which do not run here."""
    _open.clear()
    _threads.clear()


atexit.register(_end)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
