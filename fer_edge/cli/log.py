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
    log, handler = logging.getLogger("fer_edge"), _Printer()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)


class _Printer(logging.Handler):
    """Handler that prints the first messages of each minute.

    It prints where standard error is now, because a progress bar exchanges it.
    """

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._ends_s, self._left = 0.0, 0

    def emit(self, record: logging.LogRecord) -> None:
        now_s = time.monotonic()
        if now_s >= self._ends_s:
            self._ends_s, self._left = now_s + _WINDOW_S, MOST_LINES
        self._left -= 1
        if self._left < 0:
            return
        try:
            lines = [printable(line) for line in self.format(record).splitlines()]
            if self._left == 0:
                lines.append("Further messages of this minute are left out.")
            click.echo("\n".join(lines), err=True)
        except Exception:
            self.handleError(record)
