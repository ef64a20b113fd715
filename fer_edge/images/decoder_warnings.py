"""Warnings of the C image decoders, read instead of printed.

libjpeg decodes a picture with missing data, and fills the rest with grey. It warns only on the C
library's ``stderr``: of 400 faces that had lost data, 229 got a confident answer. OpenCV has no way
to ask for these warnings. This module points the C variable ``stderr`` at memory while a
picture is decoded. File descriptor 2, Python's ``sys.stderr`` and child processes are untouched.
"""

from __future__ import annotations

import ctypes
import functools
import os
import sys
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from fer_edge.one_at_a_time import one_at_a_time

Result = TypeVar("Result")

_SYMBOL = {"linux": "stderr", "darwin": "__stderrp"}.get(sys.platform)


class _Capture:
    """One redirection of ``stderr``, shared by the decodes that overlap."""

    def __init__(self, libc: Any, variable: ctypes.c_void_p) -> None:
        self._libc, self._variable = libc, variable
        self._usual = variable.value
        os.register_at_fork(after_in_child=self._reset)
        self._reset()

    def _reset(self) -> None:
        """Start again; in a forked child, whose parent may have been in a decode."""
        self._variable.value = self._usual
        self._state = threading.Condition()
        self._running = self._begun = self._waiting = 0
        self._alone = False
        self._stream: int | None = None
        self._text, self._size = ctypes.c_void_p(), ctypes.c_size_t()

    def run(self, decode: Callable[[], Result], *, alone: bool) -> tuple[Result, str, bool]:
        """Decode; return the result, the warnings, and whether another decode overlapped."""
        with self._state:
            self._waiting += alone
            self._state.wait_for(lambda: self._may_begin(alone))
            self._waiting -= alone
            self._alone = alone
            overlapped = self._running > 0
            start = self._open() if self._running == 0 else self._written()
            self._running += 1
            self._begun = number = self._begun + 1
        try:
            result = decode()
        finally:
            with self._state:
                text = self._read(start)
                overlapped |= self._begun > number
                self._running -= 1
                if self._running == 0:
                    self._close()
                self._state.notify_all()
        return result, text, overlapped

    def _may_begin(self, alone: bool) -> bool:
        if alone:
            return self._running == 0
        return not self._alone and not self._waiting

    def _open(self) -> int:
        self._stream = self._libc.open_memstream(ctypes.byref(self._text), ctypes.byref(self._size))
        if self._stream:
            self._variable.value = self._stream
        return 0

    def _written(self) -> int:
        """Bytes that were written so far."""
        if self._stream:
            self._libc.fflush(self._stream)
        return self._size.value

    def _read(self, start: int) -> str:
        end = self._written()
        written = ctypes.string_at(self._text, end) if self._text else b""
        return written[start:].decode("utf-8", "replace")

    def _close(self) -> None:
        self._variable.value = self._usual
        if self._stream:
            self._libc.fclose(self._stream)
            self._libc.free(self._text)
        self._stream, self._alone = None, False
        self._text.value, self._size.value = None, 0


@one_at_a_time  # a second capture would take the first one's memory for stderr
@functools.cache
def _capture() -> _Capture | None:
    """The capture, or None where the C library has no such variable (Windows, musl)."""
    if _SYMBOL is None:
        return None
    try:
        libc = ctypes.CDLL(None)
        if sys.platform == "linux":
            libc.gnu_get_libc_version  # noqa: B018  (musl's stderr is a constant)
        variable = ctypes.c_void_p.in_dll(libc, _SYMBOL)
    except (AttributeError, OSError, ValueError):
        return None
    libc.open_memstream.restype = ctypes.c_void_p
    for function in (libc.fflush, libc.fclose, libc.free):
        function.argtypes = [ctypes.c_void_p]
    return _Capture(libc, variable)


def with_warnings(decode: Callable[[], Result]) -> tuple[Result, str]:
    """Run a decoder; return its result and its warnings.

    Several threads may decode at once. A decode is repeated alone if a warning came up while
    another one ran, so that no picture is blamed for its neighbour.

    Args:
        decode: Function that calls the decoder; may run twice.

    Returns:
        The result, and the text of the warnings: empty for a sound picture, and always empty on
        Windows and on musl, where they cannot be read.
    """
    capture = _capture()
    if capture is None:
        return decode(), ""
    result, text, overlapped = capture.run(decode, alone=False)
    if text and overlapped:
        result, text, _ = capture.run(decode, alone=True)
    return result, text
