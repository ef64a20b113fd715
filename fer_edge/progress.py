"""Progress callbacks: their types, and those that show nothing."""

from __future__ import annotations

from typing import Protocol


class Step(Protocol):
    """Callback with the name of the work, done parts and all parts."""

    def __call__(self, what: str, done: int, total: int, /) -> None: ...


class Say(Protocol):
    """Callback with a sentence."""

    def __call__(self, text: str, /) -> None: ...


def silent(what: str, done: int, total: int) -> None:
    """Ignore the progress; the default of every ``step`` argument."""


def say_nothing(text: str) -> None:
    """Ignore a sentence; the default of most ``say`` arguments."""
