"""Orderly end of a command by SIGTERM: temporary files are removed, and children end."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator

TERMINATED = 143
"""Exit code after SIGTERM: 128 plus its number, as in shells."""
_GRACE_S = 8
"""Seconds that the end may take; Docker kills a container after 10."""


@contextlib.contextmanager
def orderly_end() -> Iterator[None]:
    """End the block with SystemExit at SIGTERM. A second SIGTERM ends the process at once.

    A native call of the main thread ends first. All else has _GRACE_S: a thread in native code
    cannot be interrupted, and the process then ends without it. A handler that somebody has set
    stays.
    """
    in_main = threading.current_thread() is threading.main_thread()
    if not in_main or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return
    process = os.getpid()

    def end(*_: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        if os.getpid() != process:  # a fork, which inherits the handler
            signal.raise_signal(signal.SIGTERM)
        late = threading.Timer(_GRACE_S, os._exit, [TERMINATED])
        late.daemon = True
        late.start()
        sys.exit(TERMINATED)

    signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
