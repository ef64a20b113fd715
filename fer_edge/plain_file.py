"""Bounded reading of untrusted files."""

from __future__ import annotations

import errno
import os
import select
import stat
import time
from pathlib import Path

from fer_edge.paths import check_possible

_PIPE_S = 5.0
"""Seconds that a pipe may take to give its content: ``--key <(command)``."""


def read_plain(path: Path, most_bytes: int, *, pipes: bool = False) -> bytes:
    """Read a regular file. A device or a pipe is refused at once, instead of waiting for it.

    The opened file is checked, so the file cannot be exchanged between check and use.

    Args:
        path: Path of the file.
        most_bytes: Largest size in bytes.
        pipes: Read a pipe as well, for at most 5 s.

    Raises:
        OSError: The file cannot be read, is larger, or is a folder, a device or a pipe.
    """
    check_possible(path)
    with open(path, "rb", opener=_opened) as file:
        status = os.fstat(file.fileno())
        if stat.S_ISREG(status.st_mode):
            data = file.read(min(status.st_size, most_bytes) + 1)
        elif stat.S_ISFIFO(status.st_mode) and pipes:
            data = _read_pipe(file.fileno(), most_bytes + 1)
        else:
            raise OSError(errno.EINVAL, "expected a file, found a device or a pipe", str(path))
    if len(data) > most_bytes:
        limit = f"{most_bytes >> 10:,} KiB" if most_bytes >= 1024 else f"{most_bytes} bytes"
        raise OSError(errno.EFBIG, f"expected at most {limit}, found more", str(path))
    return data


def is_file(path: str | Path) -> bool:
    """Return True for a file; False if the path cannot be looked at."""
    try:
        return Path(path).is_file()
    except OSError:  # in a home folder of another user, or a pipeline longer than a file's name
        return False


def _opened(path: str, flags: int) -> int:
    """Open a file; a pipe without a writer is opened as well."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _read_pipe(handle: int, most_bytes: int) -> bytes:
    """Read to the end, or ``most_bytes``. Raises OSError if that takes longer than _PIPE_S."""
    data, end_s = bytearray(), time.monotonic() + _PIPE_S
    while len(data) < most_bytes:
        if not select.select([handle], [], [], max(end_s - time.monotonic(), 0))[0]:
            raise OSError(errno.ETIMEDOUT, f"the pipe did not end within {_PIPE_S:.0f} s")
        part = os.read(handle, most_bytes - len(data))
        if not part:
            break
        data += part
    return bytes(data)
