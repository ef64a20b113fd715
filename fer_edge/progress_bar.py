"""Progress bars on standard error, for long commands."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click

from fer_edge.progress import Say, Step, say_nothing, silent

_QUIET = "fer_edge.quiet"
"""Key of click's ``Context.meta`` under which ``--quiet`` is recorded."""
_BUSY = "working"
"""Name of the bar while no step is reported."""


def set_quiet(context: click.Context, _param: click.Parameter, value: bool) -> None:
    """Record ``--quiet``; callback of the option."""
    context.meta[_QUIET] = value


@contextmanager
def progress() -> Iterator[tuple[Say, Step]]:
    """Yield ``say(sentence)`` and ``step(what, done, total)``.

    Sentences go to standard error. On a terminal, a bar moves until the end. ``--quiet`` suppresses
    both. Without rich, which the runtime lacks, one line is rewritten in place of the bar.
    """
    if _is_quiet():
        yield say_nothing, silent
        return
    try:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, SpinnerColumn, Task, TextColumn
        from rich.progress import TimeElapsedColumn as Elapsed
        from rich.progress import TimeRemainingColumn as Remaining
        from rich.text import Text
    except ImportError:
        yield _plain()
        return
    console = Console(stderr=True, highlight=False, soft_wrap=True, markup=False, emoji=False)
    if not console.is_terminal:  # rich would end with an empty line
        yield _plain()
        return

    class Clock(Remaining):
        def render(self, task: Task) -> Text:
            return Elapsed().render(task) if task.total is None else super().render(task)

    class Count(TextColumn):
        def render(self, task: Task) -> Text:
            return Text("" if task.total is None else f"{task.completed:.0f}/{task.total:.0f}")

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description:24s}", markup=False),
        BarColumn(bar_width=24),
        Count(""),
        Clock(),
    )
    with Progress(*columns, console=console, transient=True) as bars:
        task = bars.add_task(_BUSY, total=None)
        current = _BUSY

        def step(what: str, done: int, total: int) -> None:
            nonlocal current
            ended = done >= total
            name = _BUSY if ended else what
            if name != current:
                current = name
                bars.reset(task, description=name, total=None if ended else total)
                bars.tasks[0].total = None if ended else total
            if not ended:
                bars.update(task, completed=done, total=total)

        def say(text: str) -> None:
            bars.console.print(text)

        yield say, step


def _is_quiet() -> bool:
    context = click.get_current_context(silent=True)
    return context is not None and bool(context.meta.get(_QUIET))


def _plain() -> tuple[Say, Step]:
    """Return ``say`` and ``step`` that need no library."""
    on_terminal = sys.stderr.isatty()

    def say(text: str) -> None:
        click.echo(f"\r\033[K{text}" if on_terminal else text, err=True)

    def step(what: str, done: int, total: int) -> None:
        if on_terminal:
            end = "\r\033[K" if done >= total else ""
            click.echo(f"\r\033[K{what} {done}/{total}{end}", nl=False, err=True)

    return say, step


_STATUS_S = 0.5


@contextmanager
def frame_progress(total: int | None) -> Iterator[tuple[Say, Callable[[int, str], None]]]:
    """Yield ``say(sentence)`` and ``step(frames_done, status)`` for video, without rich.

    A terminal shows a bar with the remaining time, or the status twice a second. ``--quiet``
    suppresses all of it.

    Args:
        total: Number of frames; None for a camera without an end.
    """
    on_terminal = sys.stderr.isatty()

    def say(text: str) -> None:
        click.echo(f"\r\033[K{text}" if on_terminal else text, err=True)

    if _is_quiet():
        yield say_nothing, lambda done, status: None
    elif not on_terminal:
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
