"""Lock that processes of one machine take while they change the same folder."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl


@contextmanager
def locked(final: Path, *, wait: bool = True) -> Iterator[None]:
    """Wait until no other process changes ``final``, and keep others waiting in the block.

    On POSIX systems the folder around ``final`` is locked, so no lock file stays behind. Where
    that is impossible, as on NFS and Windows, it is a hidden file beside ``final``. The system
    releases the lock of a process that ends in any way.

    Args:
        final: Path of a folder or file; its parent must exist.
        wait: False raises an error in place of waiting.

    Raises:
        BlockingIOError: Another process has the lock, and ``wait`` is False.
        OSError: No lock can be taken there.
    """
    handle, owner = _lock(final, wait), os.getpid()
    try:
        yield
    finally:
        if os.getpid() == owner:
            _release(handle)
        else:
            os.close(handle)  # a forked child leaves the lock to its parent


if sys.platform == "win32":

    def _lock(final: Path, wait: bool) -> int:
        handle = os.open(_lock_file(final), os.O_RDWR | os.O_CREAT)
        while True:
            with contextlib.suppress(OSError):  # LK_LOCK gives up after ten tries of a second
                msvcrt.locking(handle, msvcrt.LK_LOCK if wait else msvcrt.LK_NBLCK, 1)
                return handle
            if not wait:
                os.close(handle)
                raise BlockingIOError(errno.EWOULDBLOCK, "another process has the lock", str(final))

    def _release(handle: int) -> None:
        os.lseek(handle, 0, os.SEEK_SET)
        msvcrt.locking(handle, msvcrt.LK_UNLCK, 1)
        os.close(handle)

else:

    def _lock(final: Path, wait: bool) -> int:
        how = fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB
        handle = os.open(final.parent, os.O_RDONLY)
        try:
            fcntl.flock(handle, how)
        except BlockingIOError:
            os.close(handle)
            raise
        except OSError:  # NFS locks only files that are open for writing
            os.close(handle)
            handle = os.open(_lock_file(final), os.O_RDWR | os.O_CREAT, 0o644)
            try:
                fcntl.flock(handle, how)
            except OSError:
                os.close(handle)
                raise
        except BaseException:
            os.close(handle)
            raise
        return handle

    def _release(handle: int) -> None:
        fcntl.flock(handle, fcntl.LOCK_UN)  # closing leaves it to a child that was forked meanwhile
        os.close(handle)


def _lock_file(final: Path) -> Path:
    return final.with_name(f".{final.name}.lock")
