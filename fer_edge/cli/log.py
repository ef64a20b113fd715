"""Warnings of the package on standard error, for commands that run for long."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager

import click

from fer_edge.shown import printable

MOST_LINES = 20
"""Most messages a minute: clients must not be able to fill the log of a service that fails."""
_WINDOW_S = 60.0


@contextmanager
def warnings_on_stderr() -> Iterator[None]:
    """Print the package's warnings and errors inside the block, a bounded number a minute."""
    log, handler = logging.getLogger("fer_edge"), _Printer(logging.WARNING)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    handler.addFilter(_Bound())
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)


class _Printer(logging.Handler):
    """Handler that prints where standard error is now: a progress bar exchanges it."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = "\n".join(map(printable, self.format(record).splitlines()))
            click.echo(text, err=True)
        except Exception:
            self.handleError(record)


class _Bound(logging.Filter):
    """Filter that leaves out what comes after the first messages of a minute."""

    def __init__(self) -> None:
        super().__init__()
        self._ends_s, self._left = 0.0, 0

    def filter(self, record: logging.LogRecord) -> bool:
        now_s = time.monotonic()
        if now_s >= self._ends_s:
            self._ends_s, self._left = now_s + _WINDOW_S, MOST_LINES
        self._left -= 1
        if self._left == 0:
            record.msg = f"{record.msg} (more in this minute are left out)"
        return self._left >= 0
