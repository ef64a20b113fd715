"""Progress on standard error for commands that take longer than a moment; needs rich."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from fer_edge.errors import MissingDependencyError


class Step(Protocol):
    def __call__(self, what: str, done: int, total: int) -> None: ...


class Say(Protocol):
    def __call__(self, text: str) -> None: ...


@contextmanager
def progress() -> Iterator[tuple[Say, Step]]:
    """Gives ``say(sentence)`` and ``step(what, done, total)``; a bar is drawn on a terminal only,
    sentences everywhere."""
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
