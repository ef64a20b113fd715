"""Locks that a forked child does not find held by a thread of its parent."""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable
from typing import ParamSpec, Protocol, TypeVar
from weakref import WeakSet

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def one_at_a_time(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Let threads call a function one after the other.

    Around ``functools.cache``, the function runs once in the process: the cache alone runs it in
    each thread that comes before the first result. A forked child waits for no thread of its
    parent.
    """
    lock = threading.RLock()

    def forget() -> None:
        nonlocal lock
        lock = threading.RLock()

    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=forget)

    @functools.wraps(function)
    def call(*args: Parameters.args, **more: Parameters.kwargs) -> Result:
        with lock:
            return function(*args, **more)

    return call


class HasLock(Protocol):
    """Object whose threads take turns with a lock that may be taken again inside."""

    _lock: threading.RLock


_owners: WeakSet[HasLock] = WeakSet()


def own_lock(owner: HasLock) -> threading.RLock:
    """Return a lock for the object's ``_lock``, which a forked child replaces."""
    _owners.add(owner)
    return threading.RLock()


def _renew() -> None:
    for owner in _owners:
        owner._lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew)
