"""Functions that must not run in two threads at once."""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable
from typing import ParamSpec, TypeVar

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
