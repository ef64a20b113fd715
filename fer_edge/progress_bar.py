"""Progress bars on standard error, for long commands."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click

from fer_edge.errors import MissingDependencyError
from fer_edge.progress import Say, Step


@contextmanager
def progress() -> Iterator[tuple[Say, Step]]:
    """Yield ``say(sentence)`` and ``step(what, done, total)``.

    Sentences go to standard error. A bar is drawn on a terminal only. Needs rich.

    Raises:
        MissingDependencyError: rich is not installed.
    """
    try:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
        from rich.progress import TimeRemainingColumn as Remaining
    except ImportError as error:
        raise MissingDependencyError("rich", "bench") from error
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    columns = (TextColumn("{task.description:24s}"), BarColumn(), MofNCompleteColumn(), Remaining())
    with Progress(*columns, console=console, transient=True) as bars:
        task = bars.add_task("", total=None, visible=False)
        current = ""

        def step(what: str, done: int, total: int) -> None:
            nonlocal current
            if what != current:
                current = what
                bars.reset(task, description=what, total=total, visible=True)
            bars.update(task, completed=done, total=total)

        def say(text: str) -> None:
            bars.console.print(text, markup=False)

        yield say, step


_STATUS_S = 0.5


@contextmanager
def frame_progress(total: int | None) -> Iterator[tuple[Say, Callable[[int, str], None]]]:
    """Yield ``say(sentence)`` and ``step(frames_done, status)`` for video, without rich.

    A terminal shows a bar with the remaining time, or the status twice a second.

    Args:
        total: Number of frames; None for a camera without an end.
    """
    on_terminal = sys.stderr.isatty()

    def say(text: str) -> None:
        click.echo(f"\r\033[K{text}" if on_terminal else text, err=True)

    if not on_terminal:
        yield say, lambda done, status: None
    elif total is None:
        told_s = 0.0

        def show(done: int, status: str) -> None:
            nonlocal told_s
            if time.monotonic() - told_s >= _STATUS_S:
                told_s = time.monotonic()
                click.echo(f"\r\033[K{status}", nl=False, err=True)

        yield say, show
        say("")
    else:
        with click.progressbar(length=total, file=sys.stderr, item_show_func=str) as bar:
            yield say, lambda done, status: bar.update(done - bar.pos, status)
