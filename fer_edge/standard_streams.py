"""Standard streams that were closed before a command started."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def open_missing() -> None:
    """Put the null device in place of each standard stream that is closed.

    Python sets such a stream to None, on which progress bars and libraries fail. The next file that
    is opened would get the stream's number, and with it what native code prints.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            stream = Path(os.devnull).open(mode, encoding="utf-8")  # noqa: SIM115 (stays open)
            os.set_inheritable(stream.fileno(), True)  # or a child lacks the stream again
            setattr(sys, name, stream)
