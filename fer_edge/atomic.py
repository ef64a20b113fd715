"""Atomic writes of files and folders, also if the process is killed."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import hashlib
import os
import platform
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from fer_edge.paths import check_possible

_AT_FDCWD = -100 if sys.platform != "darwin" else -2
_RENAME_EXCHANGE = 2  # linux/fs.h RENAME_EXCHANGE and macOS sys/stdio.h RENAME_SWAP agree


def write_folder(final: Path, fill: Callable[[Path], None], durable: bool = True) -> None:
    """Write a folder in one step, replacing an older one.

    Args:
        final: Path of the folder.
        fill: Writes the content into a temporary folder beside ``final``. If it raises, nothing
            has changed.
        durable: Wait until the disk has every file. A folder of many thousand files that can be
            made again does not need it.

    Raises:
        OSError: The folder cannot be written, or ``final`` is a file or a link.
    """
    _check_replaceable(final)
    _make_parent(final)
    _sweep(final)
    temporary = Path(tempfile.mkdtemp(prefix=_prefix(final), suffix=_SUFFIX, dir=final.parent))
    try:
        temporary.chmod(0o755)
        fill(temporary)
        if durable:
            _sync(temporary)
        if final.exists():
            _exchange(temporary, final)
        else:
            temporary.rename(final)
        _sync_one(final.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def make_place(final: Path, *, folder: bool = False) -> None:
    """Make the folder around a file or a folder, before hours of work depend on it.

    Args:
        final: Path of the file or folder.
        folder: It is a folder, and may be there.

    Raises:
        OSError: It cannot be written there.
    """
    _make_parent(final)
    check_place(final, folder=folder)


def check_place(final: Path, *, folder: bool = False) -> None:
    """Check that a file or a folder can be written. What is made to try it is removed.

    Args:
        final: Path of the file or folder.
        folder: It is a folder, and may be there. The folders around it may be missing, as
            ``write_folder`` makes them.

    Raises:
        OSError: It cannot be written there.
    """
    check_possible(final)
    if folder:
        final = _first_missing(final)
        _check_replaceable(final)
    parent = final.parent
    if not parent.is_dir():
        code = errno.ENOTDIR if parent.exists() else errno.ENOENT
        raise OSError(code, os.strerror(code), str(parent))
    if final.is_dir() and not folder:
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(final))
    # Permissions do not tell all: root has them in /proc, which takes no folder.
    Path(tempfile.mkdtemp(prefix=_prefix(final), suffix=_SUFFIX, dir=parent)).rmdir()


def _first_missing(final: Path) -> Path:
    """Return the first folder of a path that has to be made; the path itself if it is the last."""
    while not final.parent.exists():
        final = final.parent
    return final


def _check_replaceable(final: Path) -> None:
    """Raise FileExistsError for what no folder replaces: a file or a link."""
    if final.is_symlink() or (final.exists() and not final.is_dir()):
        raise FileExistsError(errno.EEXIST, "expected a folder there or nothing", str(final))


def write_file(final: Path, data: bytes, *, sweep: bool = True) -> None:
    """Write a file in one step and replace an older one.

    Args:
        final: Path of the file; its folder must exist.
        data: Content.
        sweep: As for ``replacing``. Before many files, call ``sweep_folder`` once instead.

    Raises:
        OSError: The file cannot be written, or ``final`` is a folder, a device or a pipe.
    """
    write_files({final: data}, sweep=sweep)


def write_files(contents: Mapping[Path, bytes], *, sweep: bool = True) -> None:
    """Write files that belong together, and replace older ones.

    The disk has all of them before the first is put in place, so that a kill hardly ever leaves
    an old one beside a new one.

    Args:
        contents: Content of each file by its path; the folders must exist.
        sweep: As for ``replacing``.

    Raises:
        OSError: A file cannot be written, or a path is a folder, a device or a pipe. Nothing has
            changed.
    """
    with contextlib.ExitStack() as stack:
        ready = []
        for final, data in contents.items():
            check_possible(final)
            final = Path(os.path.realpath(final))  # resolve() fails on a link to itself
            if final.exists() and not final.is_file():
                raise FileExistsError(errno.EEXIST, "expected a file there or nothing", str(final))
            if sweep:
                _sweep(final)
            handle, name = tempfile.mkstemp(prefix=_prefix(final), suffix=_SUFFIX, dir=final.parent)
            temporary = Path(name)
            stack.callback(temporary.unlink, missing_ok=True)
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.chmod(0o644)
            ready.append((temporary, final))
        for temporary, final in ready:
            temporary.replace(final)
        for folder in {final.parent for _, final in ready}:
            _sync_one(folder)


_SUFFIX, _RETIRED = ".tmp", "old"
_MOST_NAME_BYTES = 200
"""Longest name that stands in a temporary file's name. Systems take 255 bytes for all of it."""
_HOST = hashlib.sha256(platform.node().encode()).hexdigest()[:8]
"""Hash of this machine's name: it must not remove another machine's files in a shared folder."""


def _prefix(final: Path) -> str:
    """Start of the names of temporary files that this process writes for ``final``."""
    return f".{_stem(final)}.{_HOST}-{os.getpid()}-"


def _stem(final: Path) -> str:
    """Return the name of a file, or the hash of a long one."""
    name = os.fsencode(final.name)
    return final.name if len(name) <= _MOST_NAME_BYTES else hashlib.sha256(name).hexdigest()


def is_temporary(name: str) -> bool:
    """Return True for the name of a temporary file or folder of this module.

    Names from any machine count.
    """
    return re.fullmatch(rf"\..+\.[0-9a-f]{{8}}-\d+-\w*\{_SUFFIX}", name) is not None


def _sweep(final: Path) -> None:
    """Remove what killed processes of this machine left beside ``final``."""
    pattern = re.compile(rf"\.{re.escape(_stem(final))}\.{_HOST}-(\d+)-\w*\{_SUFFIX}")
    with contextlib.suppress(OSError):
        for entry in os.scandir(final.parent):
            found = pattern.fullmatch(entry.name)
            if found is None or _runs(int(found[1])):
                continue
            if entry.name.endswith(f"{_RETIRED}{_SUFFIX}") and not final.exists():
                continue  # the only copy, if the process was killed between two renames
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path, ignore_errors=True)
            else:
                Path(entry.path).unlink(missing_ok=True)


def sweep_folder(folder: Path) -> None:
    """Remove the files that killed processes of this machine left in a folder, for any name."""
    pattern = re.compile(rf"\..+\.{_HOST}-(\d+)-\w*\{_SUFFIX}")
    with contextlib.suppress(OSError):
        for entry in os.scandir(folder):
            found = pattern.fullmatch(entry.name)
            if found and not _runs(int(found[1])) and not entry.is_dir(follow_symlinks=False):
                Path(entry.path).unlink(missing_ok=True)


def _runs(pid: int) -> bool:
    """Say whether a process exists; True if that cannot be told."""
    if os.name != "posix":  # signal 0 ends a process on Windows
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True


def _exchange(one: Path, other: Path) -> None:
    name = "renameatx_np" if sys.platform == "darwin" else "renameat2"
    call = None
    if sys.platform != "win32":  # which has no library of the process itself
        call = getattr(ctypes.CDLL(None, use_errno=True), name, None)
    if call is not None:
        done = call(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE)
        if done == 0:
            return
    # This system or file system has no exchange. Between these two renames there is no folder at
    # ``other``; the older one is beside it.
    retired = other.with_name(f"{_prefix(other)}{_RETIRED}{_SUFFIX}")
    other.rename(retired)
    try:
        one.rename(other)
    except OSError:
        retired.rename(other)
        raise
    shutil.rmtree(retired, ignore_errors=True)


@contextmanager
def replacing(final: Path, *, sweep: bool = True) -> Iterator[Path]:
    """Yield a temporary file that replaces ``final`` as the block ends.

    For files that are written in parts, or too large to be held in memory. If the block raises,
    the temporary file is removed and ``final`` stays unchanged.

    Args:
        final: Path of the file. Its folder must exist.
        sweep: Remove first what killed processes left for this file. False spares a look at each
            name in the folder; ``is_temporary`` finds them later.

    Yields:
        Path of an empty file with the mode 0644.

    Raises:
        OSError: The file cannot be written or replaced.
    """
    check_possible(final)
    if sweep:
        _sweep(final)
    handle, name = tempfile.mkstemp(prefix=_prefix(final), suffix=_SUFFIX, dir=final.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        temporary.chmod(0o644)
        yield temporary
        _sync_one(temporary)
        temporary.replace(final)
        _sync_one(final.parent)
    finally:
        temporary.unlink(missing_ok=True)


def fill_file(final: Path, fill: Callable[[Path], None]) -> None:
    """Make the folder of ``final``, and write the file with ``replacing``."""
    _make_parent(final)
    with replacing(final) as temporary:
        fill(temporary)


def _make_parent(final: Path) -> None:
    check_possible(final)
    final.parent.mkdir(parents=True, exist_ok=True)


def _sync(folder: Path) -> None:
    for entry in [*folder.rglob("*"), folder]:
        _sync_one(entry)


def _sync_one(path: Path) -> None:
    windows = os.name == "nt"  # it opens no folders, and flushes files that are open for writing
    if windows and path.is_dir():
        return
    handle = os.open(path, os.O_RDWR if windows else os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
