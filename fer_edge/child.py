"""Child interpreters that ignore the current folder and end with their parent."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Sequence

MARK = "fer_edge: "
"""Start of a line that a child answers with; libraries print other lines."""
_PARENT = "fer_edge_parent"
"""Interpreter option with the process id of the parent."""
_PARENT_DEATH_SIGNAL = 1
"""Number of the option PR_SET_PDEATHSIG of prctl (Linux)."""
_RUN = """
import os, sys
from fer_edge.child import end_with_parent
end_with_parent()  # which the next program inherits
os.execv(sys.argv[1], sys.argv[1:])
"""


def python_command(*arguments: str) -> list[str]:
    """Return the command that runs this interpreter with ``arguments``.

    ``-P`` keeps the current folder off ``sys.path``. With ``-c`` and ``-m``, Python puts it first.
    A conversion in a downloaded folder would then import that folder's ``cv2.py``. The option
    ``-X`` tells the child who its parent is.
    """
    return [sys.executable, "-P", "-X", f"{_PARENT}={os.getpid()}", *arguments]


def ending_command(command: Sequence[str]) -> list[str]:
    """Return the command that runs another program, which ends with this process (Linux)."""
    if sys.platform != "linux":
        return list(command)
    return python_command("-c", _RUN, *command)


def answer(text: str) -> None:
    """Print an answer to the parent, on a marked line of its own."""
    print(f"\n{MARK}{text}", flush=True)  # a library may have left its line unfinished


def answer_on(line: str) -> str | None:
    """Return the answer on a line of a child's output; None for any other line."""
    return line.removeprefix(MARK).strip() if line.startswith(MARK) else None


def end_with_parent() -> None:
    """Let the kernel end this process with its parent, even while it is stopped.

    Only for a child of ``python_command``. It ends at once if its parent has already gone.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PARENT_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != int(sys._xoptions[_PARENT]):  # it ended before the kernel was asked
            os._exit(1)
    elif hasattr(signal, "SIGHUP"):  # under nohup it is ignored, and a stopped orphan would stay
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
